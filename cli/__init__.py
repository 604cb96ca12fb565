"""The command line: everything that imports typer and rich. Installed as dbp.cli. It draws and explains; it decides nothing."""
