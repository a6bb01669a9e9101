"""The commands of the command line that are more than a look at a schedule file."""
