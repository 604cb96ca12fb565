"""Builds the kernel (dbp/network/native) with the C compiler at hand; all else about the package is in pyproject.toml.

One shared library holds the kernel for each precision and instruction set; dbp/network/compiled.py picks when it is loaded. It is
no Python module and needs no Python headers, so one wheel serves every Python version. Without a C compiler on the machine
the build asks for ziglang from the package index, whose `zig cc` is one.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = "dbp/network/native"
HEADERS = ["lanes.h", "functions.h", "losses.h", "products.h"]
# The bits must not depend on the compiler's taste: no contraction, no reordering.
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-fno-fast-math",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-Wno-psabi",
    "-Wno-array-bounds",
]
INSTRUCTIONS = {"portable": ["-DDBP_PORTABLE"]}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTIONS["avx2"] = ["-DDBP_AVX2", "-mavx2", "-mfma"]
    INSTRUCTIONS["avx512"] = [
        *("-DDBP_AVX512", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
        "-mprefer-vector-width=512",
    ]
if "DBP_SANITIZE" in os.environ:  # `make sanitize`: reads and writes outside of memory end the test run
    FLAGS = [*FLAGS, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize=alignment"]
PRECISIONS = {"float32": ["-DDBP_SINGLE"], "float64": ["-DDBP_DOUBLE"]}


def compiler() -> str | None:
    """The C compiler to use: the one CC names, the one Python was built with, or another on the path; None for none."""
    asked = os.environ.get("CC")
    if asked:
        return asked
    built_with = (sysconfig.get_config_var("CC") or "cc").split()[0]
    return next((name for name in (built_with, "cc", "gcc", "clang") if shutil.which(name)), None)


class BuildKernel(build_ext):
    """Compiles kernel.c once per precision and instruction set, and links all into one library."""

    def get_ext_filename(self, fullname: str) -> str:
        """Not tied to a version of Python."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile and link."""
        found = compiler()
        zig = [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
        command = zig if found is None else found.split()
        if found != os.environ.get("CC"):  # else setuptools knows what to do with it
            shared = ["-dynamiclib"] if sys.platform == "darwin" else ["-shared"]
            self.compiler.set_executables(compiler_so=[*command, "-fPIC"], linker_so=[*command, *shared])
        objects = [
            each for name in ("dispatch", "digest", "crew") for each in self._compile(f"{name}.c", name, ["-pthread"])
        ]
        for instructions, instruction_flags in INSTRUCTIONS.items():
            for precision, precision_flags in PRECISIONS.items():
                name = f"{precision}_{instructions}"
                objects += self._compile(
                    "kernel.c", name, [*instruction_flags, *precision_flags, f"-DDBP_SUFFIX={name}"]
                )
        sanitized = ["-fsanitize=address,undefined"] if "DBP_SANITIZE" in os.environ else []
        target = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(objects, target, libraries=["m"], extra_postargs=["-pthread", *sanitized])

    def _compile(self, source: str, name: str, flags: list[str]) -> list[str]:
        folder = Path(self.build_temp) / name
        return self.compiler.compile([f"{NATIVE}/{source}"], str(folder), extra_postargs=[*FLAGS, *flags])


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, no ABI, this platform."""
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[
        Extension(
            "dbp.network._kernel",
            sources=[f"{NATIVE}/{name}.c" for name in ("kernel", "dispatch", "digest", "crew")],
            depends=[f"{NATIVE}/{header}" for header in HEADERS],
        )
    ],
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": PlatformWheel},
    setup_requires=["ziglang"] if compiler() is None else [],
)
