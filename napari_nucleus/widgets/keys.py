"""Keys of the Correct tool: what they are, how a user changes them, and their binding.

While correcting, keys are bound on the viewer and on the instances of all layers that may be
active, because napari asks the active layer before the viewer; what was bound there before comes
back afterwards. Nothing is bound globally. The layer of points keeps napari's keys for points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.points_layer import POINTS_ROLE

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["ACTIONS", "KeyAction", "KeyBinder", "current_keys", "key_card"]


@dataclass(frozen=True, slots=True)
class KeyAction:
    """Something a key does: its name in settings, its default key, and what to call it."""

    name: str
    key: str
    title: str


ACTIONS: tuple[KeyAction, ...] = (
    KeyAction("toggle_sign", "T", "Swap what click and Ctrl-click do (for trackpads)"),
    KeyAction("swap", "Tab", "Show the other reading of the last click"),
    KeyAction("delete", "Delete", "Remove the selected nucleus, or the one under the pointer"),
    KeyAction("next_doubtful", "N", "Go to the next doubtful nucleus"),
    KeyAction("previous_doubtful", "Shift-N", "Go to the doubtful nucleus before"),
    KeyAction("accept", "Enter", "Accept the selected nucleus and go to the next doubtful one"),
    KeyAction("sign_off_view", "R", "Sign off what the canvas shows, and accept its nuclei"),
    KeyAction("lift_region", "Shift-R", "Lift the region under the pointer"),
    KeyAction("cut", "K", "Cut nuclei: then drag a stroke across them"),
    KeyAction("split", "S", "Split a nucleus: then click two places in it"),
    KeyAction("merge", "G", "Merge the selected nucleus: then click the other, or drag over all"),
    KeyAction("brush", "B", "Take the brush: begin in a nucleus to extend it, else a new one"),
    KeyAction("eraser", "E", "Take the eraser: begin in a nucleus to take from that one only"),
    KeyAction("scribble", "W", "Scribble: then drag along a nucleus, the model outlines it"),
    KeyAction("choose", "A", "Choose several: then drag a box around them"),
    KeyAction("choose_like", "Shift-A", "Choose all in view of the selected nucleus's class"),
    KeyAction("fill_holes", "H", "Fill the holes of the nucleus"),
    KeyAction("smooth", "O", "Smooth the outline of the nucleus"),
    KeyAction("fill", "F", "Fill nuclei, or outlines only"),
    KeyAction("hide", "D", "Hide nuclei, or show them again"),
    KeyAction("agreement", "C", "Show how far another model agrees, or hide it"),
    KeyAction("entropy", "Y", "Show how mixed the classes are, in the Measure tab, or hide it"),
    KeyAction("table", "L", "Show the table of nuclei, or put it away"),
    KeyAction("undo", "Control-Z", "Undo"),
    KeyAction("redo", "Control-Shift-Z", "Redo"),
    KeyAction("escape", "Escape", "Drop what was begun, then the selection"),
    KeyAction("previous_image", "Control-PageUp", "Go to the image before, of a folder"),
    KeyAction("next_image", "Control-PageDown", "Go to the next image of a folder"),
    KeyAction("help", "F1", "List the keys"),
)

POINTER: tuple[tuple[str, str], ...] = (
    ("Click on background", "Add the nucleus there, or extend the one beside it"),
    ("Click on a nucleus", "Select it"),
    ("Ctrl-click in a nucleus", "Remove it; near its rim: take that part away"),
    ("Shift-drag", "Box around a nucleus"),
    ("Ctrl-Shift-drag", "Choose the nuclei in a box, to change them together"),
    ("1 … 9", "Class of the chosen nuclei, or of the one under the pointer"),
)


def current_keys() -> dict[str, str]:
    """Return the key of each action: the user's, from napari's preferences, or the default."""
    keys = {action.name: action.key for action in ACTIONS}
    for name, key in _settings().items():
        if name in keys and isinstance(key, str) and key.strip():
            keys[name] = key.strip()
    return keys


def _settings() -> Mapping[str, Any]:
    """Return the plugin's key preferences; empty where napari has no preferences for plugins."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return {}
    try:
        shortcuts = get_plugin_settings("napari-nucleus").shortcuts
    except (AttributeError, KeyError, LookupError, ValueError):
        return {}
    return {action.name: getattr(shortcuts, action.name, None) for action in ACTIONS}


def key_card() -> str:
    """Return all keys and pointer gestures as an HTML table."""
    keys = current_keys()
    rows = list(POINTER) + [(keys[a.name].replace("Control", "Ctrl"), a.title) for a in ACTIONS]
    cells = "".join(
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{what}</td></tr>" for key, what in rows
    )
    return f"<table>{cells}</table>"


class KeyBinder:
    """Binds keys on the viewer and on whichever layer is active, and takes them off again."""

    def __init__(self, viewer: Viewer, handlers: Mapping[str, Callable[[], None]]) -> None:
        keys = current_keys()
        self._viewer = viewer
        self._functions = {
            (keys.get(name, name)): _key_function(handler) for name, handler in handlers.items()
        }
        self._bound: list[tuple[Any, dict[Any, Any]]] = []

    def bind(self) -> None:
        """Bind on the viewer and the active layer, and follow the active layer."""
        self._bind_on(self._viewer)
        self._viewer.layers.selection.events.active.connect(self._on_active)
        self._on_active()

    def unbind(self) -> None:
        """Put every key back to what it did before; those that others have bound since stay."""
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        for target, before in self._bound:
            keymap = dict(target.keymap)
            for key, function in before.items():
                keymap.pop(key, None)
                if function is not None:
                    keymap[key] = function
            target.keymap = keymap
        self._bound = []

    def _on_active(self, event: Any = None) -> None:
        layer: Layer | None = self._viewer.layers.selection.active
        if layer is None or (role_of(layer) or ("", ""))[1] == POINTS_ROLE:
            return
        if all(target is not layer for target, _ in self._bound):
            self._bind_on(layer)

    def _bind_on(self, target: Any) -> None:
        before = dict(target.keymap)
        for key, function in self._functions.items():
            target.bind_key(key, function, overwrite=True)
        ours = set(self._functions.values())
        bound = {key: before.get(key) for key, f in target.keymap.items() if f in ours}
        self._bound.append((target, bound))


def _key_function(handler: Callable[[], None]) -> Callable[[Any], None]:
    def on_key(_: Any) -> None:
        handler()

    return on_key
