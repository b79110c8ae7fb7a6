# SPDX-License-Identifier: GPL-2.0-or-later
"""The asyncio shell around the core, and what it needs of its host; `service` starts it."""
