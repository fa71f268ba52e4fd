"""Findings about rules: those that match nothing, are hidden, silence others, or concern what is not trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, listing, nearest
from optimctl.plan.findings.finding import Finding, counted, finding

if TYPE_CHECKING:
    from optimctl.optim.options import Options
    from optimctl.plan.subject import Part, Subject

CUSTOM = "custom_keys"
WORDS = {"lr": "lr_mult", "weight_decay": "decay_mult"}
"""What a custom key says to keep an option that the rules by type would move."""
RATES = ("bias_lr_mult", "dcn_offset_lr_mult")
"""The rules by type that move the learning rate; the others move the weight decay."""


def about_rules(subject: Subject) -> Iterator[Finding]:
    """All findings about ``paramwise_cfg``, and about parameters that no rule reaches."""
    wrappers = {id(part.wrapper): part for part in subject.parts if part.wrapper is not None}
    for part in wrappers.values():
        prefix: Key = ("optim_wrapper", *part.prefix)
        options: Mapping[str, Options] = getattr(part.wrapper, "options", {})
        keys = getattr(part.wrapper, "rule_keys", ())
        rules = _Rules(subject, prefix, keys, options, _frozen_by_the_model(subject, part))
        for one in rules.findings():
            yield finding(one.code, (*prefix, *one.key), one.message)
    yield from _not_trained(subject)
    yield from _not_in_model(subject)
    yield from _shared(subject)


class _Rules:
    """The rules of one wrapper, and what became of them; keys are seen from its table."""

    def __init__(
        self, subject: Subject, prefix: Key, keys: Sequence[Key], options: Mapping[str, Options], frozen: frozenset[str]
    ) -> None:
        self.subject = subject
        self.prefix = prefix
        self.keys = keys
        self.names = list(options)
        self.frozen = frozen
        self.matches: dict[Key, list[str]] = {key: [] for key in keys}
        self.kinds: dict[int, Options] = {}
        for name, one in options.items():
            self.kinds[id(one)] = one
            for key in one.matched:
                self.matches.setdefault(key, []).append(name)
        self.options = options

    def findings(self) -> Iterator[Finding]:
        for key in self.keys:
            if not self.matches[key]:
                yield self._unmatched(key)
            elif _is_custom(key) and self.frozen.issuperset(self.matches[key]):
                names = listing(self.matches[key], 2)
                yield finding("rule-on-frozen", key, f"the model has frozen all that it matches: {names}")
            else:
                yield from self._hidden(key)
                yield from self._silences(key)
                yield from self._zero(key)

    def _unmatched(self, key: Key) -> Finding:
        pattern = str(key[-1])
        if key[-2] == "norm_types":
            return finding("rule-matches-nothing", key[:-1], f"the model has no module of a class '{pattern}'")
        if not _is_custom(key):
            return finding("rule-matches-nothing", key, "the model has no parameter of this type")
        paths = sorted({path for name in self.names for path in _paths(name)})
        tops = listing(dict.fromkeys(name.split(".")[0] for name in self.names))
        hint = nearest(pattern, paths) or f"; its parts are {tops}"
        return finding("rule-matches-nothing", key, f"no parameter's name contains '{pattern}'{hint}")

    def _hidden(self, key: Key) -> Iterator[Finding]:
        if key[-2] == "norm_types":
            return
        winners = {_winner(one, key) for one in self.kinds.values() if key in one.matched}
        if key in winners or all(self._says_the_same(key, winner) for winner in winners):
            return
        those = listing((str(winner[-1]) for winner in sorted(winners, key=str)), 3)
        decide, count = "decides" if len(winners) == 1 else "decide", len(self.matches[key])
        yield finding("rule-hidden", key, f"it decides nothing: {those} {decide} for all {count} that it matches")

    def _says_the_same(self, key: Key, winner: Key) -> bool:
        """Whether all that a rule says would be no different if it won."""
        own, other = self._words(key), self._words(winner)
        return bool(own) and all(word in other and other[word] == value for word, value in own.items())

    def _words(self, rule: Key) -> Mapping[str, Any]:
        """What the job says at a rule, in the words of a custom key; nothing where there is no job to look into."""
        value = self.subject.written((*self.prefix, *rule))
        if value is None or isinstance(value, Mapping):
            return value or {}
        return {WORDS[_moves(rule)]: 0 if value is True else value}  # no_weight_decay = true

    def _silences(self, key: Key) -> Iterator[Finding]:
        """What a custom key takes away from the rules by type without a word about it."""
        silenced: dict[Key, int] = {}
        for name in self.matches[key] if _is_custom(key) else ():
            one = self.options[name]
            if _first_custom(one) != key or one.frozen or name in self.frozen:
                continue
            for rule in one.matched:
                would_change = one.get(_moves(rule)) and self._words(rule) != {WORDS[_moves(rule)]: 1}
                if _is_by_type(rule) and would_change and not _says(one, key, _moves(rule)):
                    silenced[rule] = silenced.get(rule, 0) + 1
        for rule, count in silenced.items():
            word = WORDS[_moves(rule)]
            message = f"it says nothing of `{word}`, and still switches off `{rule[-1]}` for {counted(count, 'tensor')}; give it a `{word}`"
            yield finding("key-silences-rules", key, message)

    def _zero(self, key: Key) -> Iterator[Finding]:
        """A rate of 0, where nothing would be computed if the parameters were frozen."""
        if not _is_custom(key):
            return
        zero = [
            name
            for name in self.matches[key]
            if (one := self.options[name]).get("lr") == 0 and _first_custom(one) == key and not one.frozen
        ]
        if zero:
            message = f"lr is 0 for {counted(len(zero), 'tensor')}: gradients are computed for nothing; `freeze = true` saves them"
            yield finding("lr-zero", key, message)


def _winner(one: Options, key: Key) -> Key:
    """The rule that decided in place of ``key``, or ``key`` itself."""
    custom = _first_custom(one)
    if custom is not None and (_is_custom(key) or _is_by_type(key)):
        return custom
    if not _is_by_type(key):
        return key
    return next(rule for rule in one.matched if _is_by_type(rule) and _moves(rule) == _moves(key))


def _moves(rule: Key) -> str:
    """The option that a rule by type moves."""
    return "lr" if rule[-1] in RATES else "weight_decay"


def _first_custom(one: Options) -> Key | None:
    """The custom key that won: the longest, which comes first."""
    return next((rule for rule in one.matched if _is_custom(rule)), None)


def _is_custom(key: Key) -> bool:
    return key[-2] == CUSTOM


def _is_by_type(key: Key) -> bool:
    return key[-2] not in (CUSTOM, "norm_types") and key[-1] not in WORDS.values()


def _says(one: Options, key: Key, option: str) -> bool:
    """Whether a custom key speaks of an option: by its multiplier, or by a value of its own."""
    return any(line[: len(key)] == key for line in one.spoken_for(option))


def _frozen_by_the_model(subject: Subject, part: Part) -> frozenset[str]:
    """The parameters that do not train, and that no rule froze; by the names that the wrapper knows."""
    options: Mapping[str, Options] = getattr(part.wrapper, "options", {})
    start = "".join(f"{name}." for name in part.prefix)
    still = (met.name for met in subject.walked if not met.parameter.requires_grad and met.name.startswith(start))
    own = (name[len(start) :] for name in still)
    return frozenset(name for name in own if name in options and not options[name].frozen)


def _not_trained(subject: Subject) -> Iterator[Finding]:
    """Parameters that ask for gradients, and that no optimizer has."""
    if not subject.parts:
        return
    owned = {id(p) for part in subject.parts for group in part.optimizer.param_groups for p in group["params"]}
    names = [met.name for met in subject.walked if met.parameter.requires_grad and id(met.parameter) not in owned]
    if names:
        ask, them = ("asks", "it") if len(names) == 1 else ("ask", "them")
        message = (
            f"{listing(names, 3)} {ask} for gradients, and no optimizer has {them}; freeze {them}, or give {them} one"
        )
        yield finding("not-trained", ("optim_wrapper",), message)


def _not_in_model(subject: Subject) -> Iterator[Finding]:
    """Optimizers that have parameters of another model."""
    if subject.model is None:
        return
    known = {id(met.parameter) for met in subject.walked}
    for part in subject.parts:
        owned = [parameter for group in part.optimizer.param_groups for parameter in group["params"]]
        strange = sum(id(parameter) not in known for parameter in owned)
        if strange:
            message = f"{strange} of the {counted(len(owned), 'tensor')} that {type(part.optimizer).__name__} has are not in the model"
            yield finding("not-in-model", ("optim_wrapper", *part.prefix), message)


def _shared(subject: Subject) -> Iterator[Finding]:
    if subject.model is None:
        return
    first = {id(met.parameter): met.name for met in subject.walked}
    pairs = [
        (first[id(parameter)], name)
        for name, parameter in subject.model.named_parameters(remove_duplicate=False)
        if id(parameter) in first and first[id(parameter)] != name
    ]
    if pairs:
        told = ", ".join(f"'{name}' is '{known}'" for known, name in pairs[:3])
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        yield finding("shared-parameter", ("model",), f"{told}{more}; it is trained once, by the rules of that name")


def _paths(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[start:end]) for start, end in itertools.combinations(range(len(parts) + 1), 2))
