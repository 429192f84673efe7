"""y-sweet's Python SDK against a server: python y_sweet.py CONNECTION_STRING WRONG_CONNECTION_STRING"""

import sys

import pycrdt
from y_sweet_sdk import DocumentManager
from y_sweet_sdk.error import YSweetError

right, wrong = sys.argv[1:]


def text_of(update: bytes) -> str:
    doc = pycrdt.Doc()
    doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text))


def refusal(call) -> str:
    try:
        call()
    except YSweetError as error:
        return error.cause["code"]
    raise AssertionError("it was not refused")


back = DocumentManager(right)
assert back.check_store() == {"ok": True}
assert back.create_doc("notes") == {"docId": "notes"}
new = back.create_doc()["docId"]
assert back.get_client_token(new)["docId"] == new
assert back.get_or_create_doc_and_token("notes")["authorization"] == "full"

assert text_of(back.get_doc_as_update("notes")) == ""
with back.get_connection("notes").for_update() as doc:
    doc.get("text", type=pycrdt.Text).insert(0, "written in Python")
with back.get_connection("notes").for_update() as doc:
    text = doc.get("text", type=pycrdt.Text)
    assert str(text) == "written in Python"
    text.insert(0, "twice ")
assert text_of(back.get_doc_as_update("notes")) == "twice written in Python"

copy = pycrdt.Doc()
copy.apply_update(back.get_doc_as_update("notes"))
back.update_doc(new, copy.get_update())
assert text_of(back.get_doc_as_update(new)) == "twice written in Python"

assert refusal(DocumentManager(wrong).check_store) == "InvalidAuthProvided"
assert refusal(lambda: back.create_doc("a b")) == "ServerError"
print(back.get_websocket_url("notes"))
