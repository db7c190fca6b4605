import base64

from safegen.webui.users import _name_in


def header(name: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + base64.b64encode(f"{name}:word".encode())


def test_of_several_names_the_one_counts_whose_password_the_host_checks() -> None:
    assert _name_in({"headers": [header("guest"), header("operator")]}) == "guest"
    assert _name_in({"headers": [(b"authorization", b"Bearer x"), header("operator")]}) is None
    assert _name_in({"headers": []}) is None
