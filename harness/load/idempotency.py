"""Idempotency wrappers as applications write them: each shall keep a message that comes twice from having two effects.

They stand around the work of one message and speak redis-py to the broker under test, on a connection of their own. Two of them are
the traps of well-known tutorials, the third is right:

- ``delete-in-finally``: ``SET key NX EX``, work, and ``DEL key`` in a ``finally``. Whatever comes after that runs again; whoever is killed
  in the middle runs no ``finally``, and the key has the message skipped when it comes again.
- ``key-first``: the same without the ``DEL``. Who is killed in the middle has lost the message for the key's whole lifetime.
- ``done-marker``: a token counts the runs, and a script commits the effect and sets the marker in one step: only for the newest token,
  and only once.

Keys: ``<queue>:idem:<producer>:<seq>`` and, for the last, ``…:token`` and ``…:done``; the driver's ``purge`` removes them with the queue.

Neighbours: ``worker`` calls them, ``harness.scenario.keys`` names them, ``docs/idempotency.md`` tells what is called an effect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

KEY_LIFETIME_S = 3600
"""As in the tutorials: long enough for any retry."""
ANSWER_TIMEOUT_S = 5.0

Act = Callable[[], None]

# KEYS: marker, token. ARGV: lifetime. Returns the token of a new run, 0 where the message is done.
_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return token
"""

# KEYS: marker, token. ARGV: lifetime, token of this run. Here an application's script would write the effect itself.
_COMMIT = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 'DONE' end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 'OVERTAKEN' end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[1])
return 'FINISHED'
"""


class Result(Enum):
    """What became of a message in a worker's hands."""

    FINISHED = auto()  # it ran and had its effect
    TAKEN = auto()  # not run: its key is there, so somebody has begun it
    DONE = auto()  # its effect is there already: not run, or run in vain
    OVERTAKEN = auto()  # run in vain: somebody began it later, and has it now


class WrapperFailed(Exception):
    """Redis did not answer the wrapper: the message counts as failed, whatever had been done for it."""


class Wrapper(ABC):
    """What the three have in common: a connection, made when it is needed.

    Args:
        address: of the broker under test. queue: prefix of all keys. client: the worker, unique in the trial.
    """

    def __init__(self, *, address: str, queue: str, client: str) -> None:
        import redis  # noqa: PLC0415 - workers without a wrapper, and those of other brokers, do not pay for it

        self._prefix = f"{queue}:idem"
        self._unanswered = (redis.exceptions.RedisError, OSError)
        self._redis: Any = redis.Redis.from_url(
            address,
            client_name=f"bb:{queue}:{client}:idem",
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
        )

    def work(self, producer: int, seq: int, job: Act, effect: Act) -> Result:
        """Works on one message, or does not.

        Args:
            job: does the work. effect: makes it count; called at most once, and only if ``FINISHED`` comes back or this raises.

        Raises:
            WrapperFailed: Redis did not answer.
        """
        try:
            return self._around(f"{self._prefix}:{producer}:{seq}", job, effect)
        except self._unanswered as error:
            raise WrapperFailed(f"the idempotency wrapper got no answer: {error}") from error

    @abstractmethod
    def _around(self, key: str, job: Act, effect: Act) -> Result: ...

    def close(self) -> None:
        """Closes the connection; never raises."""
        self._redis.close()


class DeleteInFinally(Wrapper):
    """The key lives as long as the work."""

    def _around(self, key: str, job: Act, effect: Act) -> Result:
        if not self._redis.set(key, 1, nx=True, ex=KEY_LIFETIME_S):
            return Result.TAKEN
        try:
            job()
            effect()
            return Result.FINISHED
        finally:
            self._redis.delete(key)


class KeyFirst(Wrapper):
    """The key is set before the work, and stays."""

    def _around(self, key: str, job: Act, effect: Act) -> Result:
        if not self._redis.set(key, 1, nx=True, ex=KEY_LIFETIME_S):
            return Result.TAKEN
        job()
        effect()
        return Result.FINISHED


class DoneMarker(Wrapper):
    """A marker that comes with the effect, and a token that keeps late runs from having one."""

    def _around(self, key: str, job: Act, effect: Act) -> Result:
        keys = (f"{key}:done", f"{key}:token")
        token = self._redis.eval(_BEGIN, len(keys), *keys, KEY_LIFETIME_S)
        if token == 0:
            return Result.DONE
        job()
        result = Result[self._redis.eval(_COMMIT, len(keys), *keys, KEY_LIFETIME_S, token).decode()]
        if result is Result.FINISHED:
            effect()
        return result


WRAPPERS: dict[str, type[Wrapper]] = {
    "delete-in-finally": DeleteInFinally,
    "key-first": KeyFirst,
    "done-marker": DoneMarker,
}
"""By the word of ``workers.idempotency``."""
