"""One file per command, each a plain function of its options."""
