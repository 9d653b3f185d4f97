"""Gradio, where it is installed, and how a page of it is served: to this machine alone, without a word to anybody."""

import ipaddress
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from memorysam.app.parts import CSS
from memorysam.errors import SettingsError

LARGEST_UPLOAD = 256 * 2**20
"""Bytes of one file."""
_TEMPORARY = "GRADIO_TEMP_DIR"


@dataclass(frozen=True)
class Address:
    """Where a page is served."""

    host: str = "127.0.0.1"
    port: int | None = None
    """The first that is free from 7860 on for None."""
    browser: bool = True
    """Whether to open it."""

    @property
    def open_to_others(self) -> bool:
        """Whether other machines may reach it."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


def library() -> Any:
    """Import gradio, which then tells nobody of it.

    Raises:
        SettingsError: it is not installed; says how to.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return import_module("gradio")
    except ImportError as error:
        raise SettingsError(
            f"this page needs gradio, which cannot be imported: {error}", fix="pip install 'memorysam[app]'"
        ) from None


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for uploads and downloads, which is gone afterwards; gradio uses it within the block."""
    before = os.environ.get(_TEMPORARY)
    with tempfile.TemporaryDirectory(prefix="memorysam-") as name:
        os.environ[_TEMPORARY] = str(Path(name).resolve())
        try:
            yield Path(name).resolve()
        finally:
            if before is None:
                del os.environ[_TEMPORARY]
            else:
                os.environ[_TEMPORARY] = before


@contextmanager
def served(page: Any, address: Address) -> Iterator[str]:
    """Serve a page within the block; yield where.

    Raises:
        SettingsError: the port is taken, or there is no such host here.
    """
    gradio = library()
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # none is fetched
    theme = gradio.themes.Default(
        primary_hue="teal", neutral_hue="slate", radius_size="sm", spacing_size="sm", text_size="sm",
        font=fonts, font_mono=["ui-monospace", "monospace"],
    )  # fmt: skip
    if address.port is not None and not 0 < address.port < 65536:
        raise SettingsError(f"there is no port {address.port}", where="--port", expected="a number from 1 to 65535")
    try:
        page.launch(
            server_name=address.host, server_port=address.port, inbrowser=address.browser, share=False, quiet=True,
            prevent_thread_lock=True, max_file_size=LARGEST_UPLOAD, footer_links=[], theme=theme, css=CSS,
            ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the page cannot be served: {error}",
            where=f"{address.host}:{address.port or '7860 to 7959'}",
            fix="choose another --port, or a --host of this machine",
        ) from None
    try:
        yield str(page.local_url)
    finally:
        page.close(verbose=False)


def until_stopped(page: Any, address: Address, say: Callable[[str], None]) -> None:
    """Serve a page until Ctrl-C.

    Raises:
        SettingsError: see `served`.
        KeyboardInterrupt: at the end.
    """
    with served(page, address) as url:
        say(f"{url}   (Ctrl-C ends it)")
        if address.open_to_others:
            say(f"{address.host} can be reached by others: whoever opens this page can use the model and upload files")
        while True:
            time.sleep(3600)
