# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages to datagrams and back: typed, versioned, authenticated, each accepted once.

A datagram, numbers in network order:

    offset  bytes  what
    0       4      magic, "SARU"
    4       1      wire version, 1
    5       1      kind: 1 a beat, 2 a part of an allocation, 3 an order; + 128: the body of a beat
                   is zlib-compressed
    6       1      number of the key that signs (0: the key that everybody knows)
    7       4      cluster: the first 4 bytes of SHA-256 of its name
    11      4      incarnation of the sender, 1 to 2**24 - 1
    15      8      its life: random bytes, drawn when the incarnation begins
    23      8      sequence number of the datagram: 1, 2, 3 ... in each incarnation
    31      1      length of the sender's name, 1 to 63
    32             the sender's name
    .              body: MessagePack
    -32     32     HMAC-SHA256 of all that stands before it

The body of a beat is the array (beat, heard, asks, promises). `beat` is the array of a `Beat`'s
fields in their order, nested ones too, but with no name, which the header has, and with those three
lists empty: they come behind it. In them a node is its place in `cluster.nodes`, counted from 0, or
its name where it is not among these. Places are read only if both have the same `cluster.nodes` by
the digest in the beat's settings; if not, whatever is said of them is left out. Fields that a later
version appends are ignored. The body is compressed only where it would not fit a frame otherwise.
With `cluster.nodes` the beats of 64 voters and four ids fit one; without, that is up to the names.

The body of a part is the array (id, version, settings, digest, index, count, piece). `settings` are
the first 8 bytes of SHA-256 of the digest that the sender's beats have of its settings: a part of
another one's says nothing here. The pieces 0 to count - 1 in a row are the zlib-compressed array
(grants, owners): grants is an array of (node, session), and byte b of owners is 1 + the place of
block b's grant in it, 0 if nobody holds block b. So a datagram cannot even express a block in two
hands. `digest` is `Allocation.digest()` of the whole.

The body of an order is the array of an `Order`'s fields.

What is wrong with a datagram is found in this order, each with a counter in `COUNTERS`: magic and
version, cluster, length, key, signature, and only then, per sender, whether it came before; the
body is parsed last. Of beats only newer ones pass; a part or an order passes once, in any order, so
that what one road lost can come by the other.

What comes under the receiver's own name is a copy of its own datagram, or another daemon's: cloned
disks have one name, and may have one incarnation, but lives differ.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterable

import msgspec

from saru.config.authkeys import Keys
from saru.config.reading import is_name
from saru.core.beat import Beat, Message
from saru.core.settings import Division
from saru.core.share import Order
from saru.core.term import INCARNATION_MAX
from saru.wire import parts
from saru.wire.namesakes import Namesakes
from saru.wire.parts import Assemblies
from saru.wire.soundness import check_beat, check_order
from saru.wire.voters import Body, Voters
from saru.wire.window import Window

MAGIC = b"SARU"
WIRE_VERSION = 1
BEAT = 1
PART = 2
ORDER = 3
COMPRESSED = 128
LIFE_BYTES = 8
TAG_BYTES = 32
FRAME_MAX = 1452  # what UDP over IPv6 can carry in one Ethernet frame; over IPv4 it is 20 more
DATAGRAM_MAX = 65507  # what UDP over IPv4 can carry at all
BODY_MAX = 1 << 18  # a body after decompression
SENDERS_MAX = 512

_HEADER = struct.Struct("!4sBBB4sI8sQB")

# What is counted, in the order in which it is looked for.
COUNTERS = {
    "sent": "datagrams encoded",
    "fragmented": "beats encoded that do not fit one Ethernet frame",
    "bad_magic": "not a datagram of Saru",
    "bad_version": "of another version of the wire format, or an unknown kind",
    "foreign": "of another cluster",
    "malformed": "its lengths or values are impossible",
    "unknown_key": "signed with a key that this host does not have",
    "forged": "the signature is wrong",
    "own": "this director's own, come back",
    "namesake": "of another daemon with this director's name",
    "crowded": "of one sender more than are kept",
    "duplicate": "came before, by another road or replayed",
    "earlier_life": "of an earlier life of its sender",
    "differing": "a part of an allocation of directors with other settings",
    "overtaken": "a beat older than one that came before",
    "late": "so old that it cannot be told whether it came before",
    "accepted": "datagrams accepted",
}


class _Sender:
    """What came in one incarnation of one sender: which datagrams, unfinished allocations."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.name = name
        self.incarnation = incarnation
        self.key = 0  # that its newest datagram was signed with
        self.window = Window()
        self.assemblies = Assemblies()


class Codec:
    """One director's way of writing datagrams and reading those of the others.

    `node` is its name, `incarnation` its present life's, `cluster` the cluster's name, `voters` the
    list by whose places nodes are named. `counters` has a number for each of COUNTERS; they only
    grow.
    """

    def __init__(
        self,
        node: str,
        incarnation: int,
        keys: Keys,
        divisions: Iterable[Division],
        cluster: str = "saru",
        voters: Voters | None = None,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.life = bytes(LIFE_BYTES)
        self.keys = keys
        self.blocks = {each.id: each.blocks for each in divisions}
        self.cluster = hashlib.sha256(cluster.encode()).digest()[:4]
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.refusal = ""  # the counter that the last `decode` raised, if it refused its datagram
        self._sequence = 0
        self._voters = voters or Voters()
        self._seal = parts.seal(self._voters.settings)
        self._senders: dict[bytes, _Sender] = {}  # by the name as it stands in a header
        self._namesakes = Namesakes()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Body)
        self._order_decoder = msgspec.msgpack.Decoder(Order)

    @property
    def sequence(self) -> int:
        """The number of the newest datagram sent."""
        return self._sequence

    def go_on(self, incarnation: int, life: bytes, sequence: int) -> None:
        """Go on after datagram `sequence` of an incarnation: others take no number twice.

        `life` is LIFE_BYTES random bytes, the same for as long as the incarnation lasts.
        """
        self.incarnation, self.life, self._sequence = incarnation, life, sequence

    def encode(self, message: Message | Order) -> list[bytes]:
        """The datagrams that carry `message`; send each on every road, in this order.

        Raises ValueError for what no receiver would take: that is a bug of the caller's.
        """
        if isinstance(message, Beat):
            return [self._encode_beat(message)]
        if isinstance(message, Order):
            check_order(message)
            return [self._sign(ORDER, self._encoder.encode(message))]
        pieces = parts.split(message, self.blocks, self._seal)
        return [self._sign(PART, self._encoder.encode(piece)) for piece in pieces]

    def decode(self, datagram: bytes) -> Message | Order | None:
        """The message in a datagram, or the allocation that it completes.

        None where there is none: then a counter says why, or a part waits for its others.
        """
        opened = self._open(datagram)
        if not isinstance(opened, str):
            kind, sender, body = opened
            try:
                message = self._parse(kind, sender, body)
            except parts.DifferingError:
                opened = "differing"
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                opened = "malformed"
            else:
                self.refusal = ""
                self.counters["accepted"] += 1
                return message
        self.refusal = opened
        self.counters[opened] += 1
        return None

    def signs(self) -> dict[str, int]:
        """By sender, the number of the key that it signs with."""
        return {sender.name: sender.key for sender in self._senders.values()}

    def _encode_beat(self, beat: Beat) -> bytes:
        if (beat.node, beat.session.incarnation) != (self.node, self.incarnation):
            raise ValueError(f"a beat of {beat.node} {beat.session} is not this director's")
        check_beat(beat)
        body = self._encoder.encode(self._voters.pack(beat))
        if _HEADER.size + len(self.node) + len(body) + TAG_BYTES <= FRAME_MAX:
            return self._sign(BEAT, body)
        datagram = self._sign(BEAT | COMPRESSED, zlib.compress(body, 9))
        if len(datagram) > FRAME_MAX:
            self.counters["fragmented"] += 1
        if len(datagram) > DATAGRAM_MAX:
            raise ValueError(f"a beat of {len(datagram)} bytes fits no datagram")
        return datagram

    def _sign(self, kind: int, body: bytes) -> bytes:
        self._sequence += 1
        self.counters["sent"] += 1
        name = self.node.encode()
        signed = (
            _HEADER.pack(
                MAGIC,
                WIRE_VERSION,
                kind,
                self.keys.signing,
                self.cluster,
                self.incarnation,
                self.life,
                self._sequence,
                len(name),
            )
            + name
            + body
        )
        return signed + hmac.digest(self.keys.secrets[self.keys.signing], signed, "sha256")

    def _open(self, datagram: bytes) -> str | tuple[int, _Sender, bytes]:
        """The kind, sender and body of a datagram that is authentic and new. The body is as sent.

        Of another one, the counter of what is wrong with it. Nothing but the fixed header is looked
        at before the signature has been found right, and there is little beside: whoever floods
        this host with false beats must not get more of its time than their signatures cost.
        """
        if datagram[:4] != MAGIC or len(datagram) < _HEADER.size:
            return "bad_magic"
        header = _HEADER.unpack_from(datagram)
        _, version, kind, key, cluster, incarnation, life, sequence, length = header
        if version != WIRE_VERSION or kind not in (BEAT, BEAT | COMPRESSED, PART, ORDER):
            return "bad_version"
        if cluster != self.cluster:
            return "foreign"
        body_at = _HEADER.size + length
        if len(datagram) < body_at + TAG_BYTES:
            return "malformed"
        secret = self.keys.secrets.get(key)
        if secret is None:
            return "unknown_key"
        signed = datagram[:-TAG_BYTES]
        tag = hmac.digest(secret, signed, "sha256")
        if not hmac.compare_digest(tag, datagram[-TAG_BYTES:]):
            return "forged"
        raw_name = datagram[_HEADER.size : body_at]
        sender = self._senders.get(raw_name)
        is_beat = kind & ~COMPRESSED == BEAT
        if sender is None or incarnation != sender.incarnation:
            found = self._new_sender(sender, raw_name, incarnation, sequence)
            if isinstance(found, str):
                return found
            if found is None:
                return self._own(incarnation, life, sequence, is_beat)
            sender = found
        refusal = sender.window.refuses(sequence, is_beat)
        if refusal:
            return refusal
        sender.key = key
        return kind, sender, signed[body_at:]

    def _new_sender(
        self, sender: _Sender | None, raw_name: bytes, incarnation: int, sequence: int
    ) -> str | _Sender | None:
        """The sender of an authentic datagram of an incarnation that is not the one known of it.

        None if it has this director's name. Or the counter of what is wrong with the datagram.
        """
        if not 1 <= incarnation <= INCARNATION_MAX or not sequence:
            return "malformed"
        name = raw_name.decode("ascii", "replace")
        if not is_name(name):
            return "malformed"
        if name == self.node:
            return None
        if sender is None and len(self._senders) >= SENDERS_MAX:
            return "crowded"
        if sender is not None and incarnation < sender.incarnation:
            return "earlier_life"
        sender = self._senders[raw_name] = _Sender(name, incarnation)
        return sender

    def _own(self, incarnation: int, life: bytes, sequence: int, is_beat: bool) -> str:
        """The counter of an authentic datagram under this director's name.

        None that this daemon ever sent, in whatever life, is taken for another one's, unless its
        incarnation was lost: earlier lives had lower ones.
        """
        if incarnation < self.incarnation:
            return "earlier_life"
        if (incarnation, life) == (self.incarnation, self.life) and sequence <= self._sequence:
            return "own"
        return self._namesakes.hear(incarnation, life, sequence, is_beat)

    def _parse(self, kind: int, sender: _Sender, body: bytes) -> Message | Order | None:
        """What an authentic body says. Raises ValueError if that is nothing."""
        if kind == PART:
            part = parts.decode(body, self.blocks, self._seal)
            return sender.assemblies.add(part, self.blocks)
        if kind == ORDER:
            order = self._order_decoder.decode(body)
            check_order(order)
            return order
        if kind & COMPRESSED:
            body = parts.inflate(body, BODY_MAX)
        beat = self._voters.unpack(self._decoder.decode(body), sender.name)
        check_beat(beat)
        if beat.session.incarnation != sender.incarnation:
            raise ValueError("the beat is not its sender's")
        return beat
