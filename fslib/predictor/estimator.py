"""What scikit-learn asks of an estimator, without scikit-learn, which is imported only where it is there and asks."""

from __future__ import annotations

from typing import Any, Self

from fslib.config import Configured


class Estimator(Configured):
    """A classifier by scikit-learn's conventions: settings by name, and ``classes_`` once it is fitted."""

    _estimator_type = "classifier"  # what scikit-learn looked for before 1.6

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings, by name."""
        return self.config

    def set_params(self, **settings: Any) -> Self:
        """Change settings; what it was fitted on stays until it is fitted again.

        Raises:
            ValueError: if there is no such setting.
        """
        for name, value in settings.items():
            if name not in self.config:
                raise ValueError(f"There is no setting {name!r}; there are {', '.join(self.config)}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        usual = {name: repr(value) for name, value in type(self)().config.items()}
        changed = (f"{name}={value!r}" for name, value in self.config.items() if repr(value) != usual[name])
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which alone calls this, asks first: it is a classifier."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())

    def __getattr__(self, name: str) -> Any:
        """What fitting gives, asked for before; nothing else that is there comes here."""
        if name.endswith("_") and not name.startswith("_"):
            self._check_fitted()
        raise AttributeError(f"A {type(self).__name__} has no {name!r}.", name=name, obj=self)

    def _check_fitted(self) -> None:
        """Raise unless it is fitted: scikit-learn's error where that is installed."""
        if "classes_" not in vars(self):
            raise _not_fitted()(f"This {type(self).__name__} is not fitted yet; call fit first.")


def _not_fitted() -> type[ValueError]:
    """An error that is a ValueError and an AttributeError, as scikit-learn has it."""
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return type("NotFittedError", (ValueError, AttributeError), {})
    return NotFittedError
