"""The account: what was answered 2xx, held against what lies in the queues. Pure; `self_test` shows that it tells."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Message:
    """What of a message counts."""

    id: str
    digest: str
    marked: bool


@dataclass
class Account:
    """What came out of a round, and what of it breaks the promise."""

    events: int = 0
    messages: int = 0
    marked: int = 0
    # Unmarked copies of events that Redis forgot in a failover (W3b).
    forgotten: int = 0
    # Messages of events that nobody was answered for, of which some are to be expected: the answer got lost.
    unanswered: int = 0
    wrong: list = field(default_factory=list)


def settle(kept, sent, messages, forgotten):
    """`kept`: what was answered 2xx, by message id: digest of the body. `sent`: digests of all that was ever sent. `forgotten`: ids of
    events of which Redis lost what it had acknowledged."""
    account = Account(events=len(kept), messages=len(messages))
    unmarked, seen = Counter(), set()
    for message in messages:
        seen.add(message.id)
        account.marked += message.marked
        unmarked[message.id] += not message.marked
        if message.digest != kept.get(message.id, message.digest):
            account.wrong.append(f"changed: {message.id} came with other bytes")
        elif message.digest not in sent:
            account.wrong.append(f"invented: {message.id} was never sent")
    account.unanswered = len(seen - kept.keys())
    account.wrong += [f"lost: {one} was answered 2xx and never came" for one in kept if one not in seen]
    for one, count in unmarked.items():
        if count > 1 and one in forgotten:
            account.forgotten += count - 1
        elif count > 1:
            account.wrong.append(f"unmarked: {one} came {count} times without the mark, and Redis had not lost it")
    return account


def self_test():
    """An account that tells nothing would pass everything."""
    kept, sent = {"a": "1", "b": "2"}, {"1", "2", "3"}
    plain = [Message("a", "1", False), Message("b", "2", False)]
    cases = [
        ("", plain, set()),
        ("", [*plain, Message("a", "1", True), Message("c", "3", False)], set()),
        ("", [*plain, Message("a", "1", False)], {"a"}),
        ("lost", plain[:1], set()),
        ("changed", [plain[0], Message("b", "1", False)], set()),
        ("invented", [*plain, Message("d", "4", True)], set()),
        ("unmarked", [*plain, Message("a", "1", False)], {"b"}),
    ]
    for wanted, messages, forgotten in cases:
        found = settle(kept, sent, messages, forgotten).wrong
        if [each.split(":")[0] for each in found] != ([wanted] if wanted else []):
            raise AssertionError(f"the account of {messages} told {found}, not «{wanted}»")
