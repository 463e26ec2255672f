"""One benchmark each, as a module with `TITLE` and `measure(bench) -> Result`; its docstring says what and how."""
