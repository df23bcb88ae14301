"""One fixed MESSAGE_ID for each kind of event that outcomed writes to the journal.

Scripts match on them and the message catalog explains them (packaging/outcomed.catalog, shown by
`journalctl -x`): an id is never changed and never used for something else. The comments name the
fields that the catalog's text asks for, besides the MESSAGE.
"""

from __future__ import annotations

from outcomed.model import Klass

# A verdict on a run, by its class. OUTCOMED_JOB, _RUN, _VERDICT, _REASON.
VERDICT_GOOD = "77a78b9f44534c3ba2ecabba8a1f5d84"
VERDICT_NEUTRAL = "68c457395c1f4349bfafecdd885b29f8"
VERDICT_WARNING = "be1c611b43c243d09e38c6b0e6ade689"  # unknown, late
VERDICT_BAD = "30dd1502254f46d2b3548ad46b21b959"

# One alert of one job, from the first bad verdict to the recovery. OUTCOMED_JOB, _ALERT.
INCIDENT_OPENED = "93f1bc28f70f4209a788182f653d1ece"
INCIDENT_CLOSED = "b0800193e6e042cf85ccf702fa2f4b61"

# The configuration was read and is in force.
CONFIG_LOADED = "c4f30e1b55564b4c94657ce2dd91e7a6"
# Something is wrong with a file; an error leaves in force what it said before. OUTCOMED_FILE.
CONFIG_REFUSED = "8661e0956c434cd48a4a60094f3605de"

# Something was not seen or not written: journal entries lost, a cursor or the bus gone, a unit not
# found, a full disk. OUTCOMED_REASON.
WITNESS_GAP = "841e605093fc4076aafb5c76656001f0"
# The ledger cannot be used; it is left as it was found.
LEDGER_REFUSED = "1415aaa6bdd04dc08a0673b6cd4ca8f5"
# A message to a sink was given up. OUTCOMED_SINK, _DELIVERY.
DELIVERY_REFUSED = "06f4a4dcf59947f38cb3409e47519d94"
# A check unit ended without an answer. OUTCOMED_JOB, _RUN.
CHECK_FAILED = "f2c106508e4d418ca1ec74f339c484dc"

# A file in spool/in asks for what cannot be done. OUTCOMED_FILE.
ORDER_REFUSED = "f4163d823acc4d22a2d196c5bd8183c3"

# What a job says about itself, sent from within its own unit.
JOB_REPORT = "ccf2a48feb724ff39a422239b4c2c41b"
JOB_STEP = "aaef3827c49149caa24ee82c0adf0f9d"  # OUTCOMED_STEP

VERDICT = {
    Klass.GOOD: VERDICT_GOOD,
    Klass.NEUTRAL: VERDICT_NEUTRAL,
    Klass.WARNING: VERDICT_WARNING,
    Klass.BAD: VERDICT_BAD,
}
