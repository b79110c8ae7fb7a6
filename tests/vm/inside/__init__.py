# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that tests run inside a guest, and what these programs share.

They need Python's own library only, and the module: they are no client of the project's
Python code, so that they can say to the kernel what that never would.
"""
