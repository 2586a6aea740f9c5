"""A browser without a window, for tests of pages."""

import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
WAIT_S = 240.0  # only so that a browser which hangs fails its test
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def browse(url, *flags):
    """What the browser prints about a page."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
