"""Settings: values by name, what is known of each, and which the API may not touch."""

from __future__ import annotations

from typing import Any


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Any = None,
        section: Any = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default, self.label, self.component = default, label, component
        self.component_args, self.onchange, self.section = component_args, onchange, section
        self.refresh, self.infotext, self.restrict_api = refresh, infotext, restrict_api
        self.category_id = category_id
        self.comment_before, self.comment_after = comment_before, comment_after
        self.do_not_save = False

    def info(self, text: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({text})</span>"
        return self

    def needs_reload_ui(self) -> OptionInfo:
        return self.info("requires Reload UI")


class Options:
    """Values are attributes; one that was never set has its default."""

    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        vars(self)["data_labels"] = data_labels
        vars(self)["data"] = {}  # what a config.json holds

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["data"]:
            return vars(self)["data"][name]
        labels = vars(self)["data_labels"]
        if name in labels:
            return labels[name].default
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.data[name] = value

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info

    def get_default(self, key: str) -> Any:
        return self.data_labels[key].default

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Whether the value was taken. The API may not set a restricted option."""
        option = self.data_labels[key]
        if self.data.get(key) == value or option.do_not_save:
            return False
        if is_api and option.restrict_api:
            return False
        setattr(self, key, value)
        if run_callbacks and option.onchange is not None:
            option.onchange()
        return True
