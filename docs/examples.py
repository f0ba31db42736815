"""An extension of griffe: the section `Example:` of a docstring is shown as a program.

griffe knows the plural only, and reads the singular as running text.
"""

import re
from typing import Any

from griffe import Extension, Object

SINGULAR = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(Extension):
    """Puts the section's heading into the plural."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for every object of the package once it has been read."""
        if obj.docstring is not None:
            obj.docstring.value = SINGULAR.sub(r"\1Examples:", obj.docstring.value)
