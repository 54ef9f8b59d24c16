"""What device rules mean, said directly: each access is judged by the last rule that names it."""

from hypothesis import strategies as st

ACCESS = "rwm"
NUMBERS = st.sampled_from([0, 1, 3, 8, 136, 1 << 20])
_WILD = st.one_of(st.none(), st.just(-1), NUMBERS)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from(["", "a", "b", "c"]),
            "major": _WILD,
            "minor": _WILD,
            "access": st.sampled_from(["", "r", "w", "m", "rw", "rm", "wm", "rwm", "mwr"]),
        }
    ),
    max_size=8,
)
REQUESTS = st.tuples(st.sampled_from("bc"), NUMBERS, NUMBERS, st.sets(st.sampled_from(ACCESS), max_size=3))
_DEFAULTS = [("c", 1, minor) for minor in (3, 5, 7, 8, 9)] + [("c", 5, minor) for minor in (0, 1, 2)]


def is_allowed(rules, kind, major, minor, access):
    if access == "m" or (kind, major, minor) in _DEFAULTS or (kind, major) == ("c", 136):
        return True  # the defaults are the last rules
    for rule in reversed(rules):
        named = (
            rule["type"] in ("", "a", kind)
            and rule["major"] in (None, -1, major)
            and rule["minor"] in (None, -1, minor)
            and access in (rule["access"] or "rwm")
        )
        if named:
            return rule["allow"]
    return False
