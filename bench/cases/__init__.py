"""One benchmark each: a module with `TITLE` and `measure(bench) -> Result`; its docstring says how."""
