"""An extension of griffe, which reads source and runs nothing.

It knows the section `Examples:` in the plural only, and takes the singular for running text. And
it sees `**options` where a constructor's signature and docstring name every option.
"""

import importlib
import inspect
import re
from typing import Any

from griffe import Class, Extension, Object, Parameter, ParameterKind

SINGULAR = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(Extension):
    """Puts the section's heading into the plural."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for every object of the package once it has been read."""
        if obj.docstring is not None:
            obj.docstring.value = SINGULAR.sub(r"\1Examples:", obj.docstring.value)


class Options(Extension):
    """Spells out the options of a constructor that takes them as a bundle."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Called for every class of the package once its members have been read."""
        if cls.docstring is None or "**options: " not in cls.docstring.value:
            return
        made = getattr(importlib.import_module(cls.module.path), cls.name)
        cls.docstring.value = SINGULAR.sub(r"\1Examples:", inspect.getdoc(made) or "")
        taken: Any = cls.members["__init__"]
        del taken.parameters["options"]
        for name, found in inspect.signature(made).parameters.items():
            if name not in taken.parameters:
                taken.parameters.add(
                    Parameter(
                        name,
                        kind=ParameterKind.keyword_only,
                        annotation=inspect.formatannotation(found.annotation),
                        default=repr(found.default),
                    )
                )
