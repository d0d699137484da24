"""A daemon whose wall clock is moved by libfaketime."""

import glob

# The C and C++ libraries stand behind libfaketime so that the daemon allocates from them: jemalloc
# asks for the time while it sets itself up, which libfaketime cannot answer without allocating.
PRELOADED = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/lib/*-linux-gnu/libc.so.6",
             "/lib/*-linux-gnu/libstdc++.so.6")


def moved(*settings):
    """The environment that starts the daemon so; "FAKETIME=+8d" is eight days ahead."""
    preloaded = ":".join(glob.glob(pattern)[0] for pattern in PRELOADED)
    words = [f"LD_PRELOAD={preloaded}", "FAKETIME_DONT_FAKE_MONOTONIC=1", *settings]
    return {"HSMKMS_RUN": " ".join(["env", *words])}
