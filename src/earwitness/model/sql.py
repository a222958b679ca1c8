"""Values as SQL text; the only way in which foreign text enters a query."""


def literal(value: object) -> str:
    """A value as DuckDB SQL; characters that cannot be seen become ``chr(…)``, so that the query can be copied by eye.

    Raises:
        TypeError: the value is none of text, whole number and truth value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"no literal for {type(value).__name__}")
    parts: list[str] = []
    run = ""
    for character in value:
        if character.isprintable():
            run += character
        else:
            parts += [_quoted(run)] * bool(run) + [f"chr({ord(character)})"]
            run = ""
    if run or not parts:
        parts.append(_quoted(run))
    return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
