# SPDX-License-Identifier: GPL-2.0-or-later
"""Hand-written runs, one for each rule whose absence random runs hardly ever show.

Each goes well with the rules as they are, and ends in an InvariantError without the rule that it is
about. The hosts' clocks are exact; `slow` ones make sure that b is the first to miss a master.
"""
