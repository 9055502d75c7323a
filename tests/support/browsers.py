"""Finds a Chromium for the tests of the page, or brings one.

In this order: the program that INTEREST_STREAM_TEST_BROWSER names; a Chromium or Chrome of this
machine; one that was brought before; one that is brought now. Where the system is a Debian or one
of its kind, that is its own package with the libraries that are missing, from the sources that apt
is set up with, unpacked into the user's cache: no right of root is needed and nothing of the system
changes. Elsewhere Playwright brings its own.

    python -m tests.support.browsers     bring one now, and print where it is
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VARIABLE: Final = "INTEREST_STREAM_TEST_BROWSER"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OF_MACOS: Final = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PACKAGES: Final = ("chromium", "fonts-inter", "fonts-dejavu-core", "fonts-wqy-microhei")
"""With fonts for all that the simulated shop has: pictures of the page look the same everywhere."""

BRING_S: Final = 550
WRAPPER: Final = """\
#!/bin/sh
# Runs a Chromium that was unpacked here, with the libraries and fonts beside it.
export LD_LIBRARY_PATH={libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}
export FONTCONFIG_FILE={fonts}
exec {program} "$@"
"""
FONTS: Final = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{root}/usr/share/fonts</dir>
  <cachedir>{root}/../fontcache</cachedir>
  <alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


class NoBrowserError(Exception):
    """Says why there is no browser, and what to do."""


def cache() -> Path:
    """Returns the folder in the user's cache where a browser is kept that was brought."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "interest-stream" / "chromium"


def chromium() -> str:
    """Returns a Chromium that runs, after bringing one if need be; raises NoBrowserError."""
    given = os.environ.get(VARIABLE)
    if given:
        if shutil.which(given) is None:
            raise NoBrowserError(f"{VARIABLE} names {given}, which is no program")
        return given
    for name in (*NAMES, str(OF_MACOS)):
        if (found := shutil.which(name)) is not None:
            return found
    return bring(cache())


def bring(folder: Path) -> str:
    """Returns the Chromium in a folder of the cache; the first process that asks brings it."""
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "chromium"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wrapper.exists():
            if shutil.which("apt-get") and shutil.which("dpkg-deb"):
                _bring_packages(folder, wrapper)
            else:
                _bring_playwrights(folder, wrapper)
    return str(wrapper)


def _bring_packages(folder: Path, wrapper: Path) -> None:
    """Unpacks the system's own package, and what it needs that is not installed."""
    packages, root = folder / "packages", folder / "root"
    for each in (packages / "partial", folder / "lists" / "partial", root):
        each.mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-q", "-o", "Debug::NoLocking=1", "-o", f"APT::Sandbox::User={_user()}"]
    apt += ["-o", f"Dir::Cache={folder}", "-o", f"Dir::Cache::Archives={packages}"]
    try:
        _download(apt, packages)
    except NoBrowserError:  # the system's lists are missing or old, and root's to renew
        apt += ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", "Acquire::Languages=none"]
        _run([*apt, "update"])
        _download(apt, packages)
    for each in sorted(packages.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(each), str(root)])
    shutil.rmtree(packages)
    shutil.rmtree(folder / "lists")
    for each in folder.glob("*.bin"):
        each.unlink()

    program = root / "usr/lib/chromium/chromium"
    if not program.exists():
        raise NoBrowserError(f"the package chromium has no {program.relative_to(root)}")
    places = [each.parent for each in root.rglob("*.so*")]
    libraries = ":".join(shlex.quote(str(each)) for each in dict.fromkeys(sorted(places)))
    fonts = folder / "fonts.conf"
    fonts.write_text(FONTS.format(root=root), encoding="utf-8")
    words = WRAPPER.format(
        libraries=libraries, fonts=shlex.quote(str(fonts)), program=shlex.quote(str(program))
    )
    draft = folder / "draft"
    draft.write_text(words, encoding="utf-8")
    draft.chmod(0o755)
    draft.replace(wrapper)  # last, since its presence says that all is there


def _download(apt: list[str], folder: Path) -> None:
    """Fetches the packages and what they need that is not installed."""
    plan = _run([*apt, "install", "--simulate", "--no-install-recommends", *PACKAGES])
    _run([*apt, "download", *re.findall(r"^Inst (\S+)", plan, re.MULTILINE)], folder)


def _bring_playwrights(folder: Path, wrapper: Path) -> None:
    """Lets Playwright fetch its own Chromium."""
    environment = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(folder)}
    _run([sys.executable, "-m", "playwright", "install", "chromium"], environment=environment)
    programs = [each for name in NAMES for each in folder.glob(f"chromium-*/*/{name}")]
    programs += folder.glob("chromium-*/*/Chromium.app/Contents/MacOS/Chromium")
    if not programs:
        raise NoBrowserError(f"Playwright has left no Chromium in {folder}")
    wrapper.symlink_to(programs[0])


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _run(
    words: list[str], folder: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BRING_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoBrowserError(f"{words[0]} {words[-1]} took longer than {BRING_S} s") from None
    if done.returncode:
        raise NoBrowserError(
            f"{shlex.join(words[:1] + words[-2:])} failed: {done.stderr.strip()[-600:]}; install "
            f"Chromium or Chrome, or name one with {VARIABLE}"
        )
    return done.stdout


@contextmanager
def running(program: str) -> Iterator[Browser]:
    """Yields a browser that runs without a window, and ends it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


if __name__ == "__main__":
    sys.stdout.write(f"{chromium()}\n")
