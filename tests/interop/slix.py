"""Clients by slixmpp, driven by lines on standard input.

    connect NAME JID PASSWORD PORT starttls|direct MECHANISM|-
    say NAME TO TEXT
    close NAME

Every line of the output is something that happened to a client:
    NAME online JID | NAME heard FROM TEXT | NAME error FROM CONDITION
    NAME stream-error CONDITION | NAME refused CONDITION | NAME mechanism M
    NAME offline
"""

import asyncio
import logging
import ssl
import sys

import slixmpp

clients = {}


def say(*words):
    print(*words, flush=True)


class Client(slixmpp.ClientXMPP):
    def __init__(self, name, jid, password, mechanism, ca):
        chosen = None if mechanism == "-" else mechanism
        super().__init__(jid, password, sasl_mech=chosen)
        self.name = name
        self.ca_certs = ca
        self.ssl_context = ssl.create_default_context(cafile=ca)
        self.auto_reconnect = False
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.heard)
        self.add_event_handler("message_error", self.bounced)
        self.add_event_handler("failed_auth", self.refused)
        self.add_event_handler("stream_error", self.stream_error)
        self.add_event_handler("disconnected", lambda why: say(name, "offline"))

    async def start(self, _):
        self.send_presence()
        say(self.name, "mechanism", self["feature_mechanisms"].mech.name)
        say(self.name, "online", self.boundjid.full)

    def heard(self, message):
        if message["type"] in ("chat", "normal"):
            say(self.name, "heard", message["from"], message["body"])

    def bounced(self, message):
        say(self.name, "error", message["from"], message["error"]["condition"])

    def refused(self, failure):
        say(self.name, "refused", failure["condition"])

    def stream_error(self, error):
        say(self.name, "stream-error", error["condition"])


def connect(ca, name, jid, password, port, door, mechanism):
    client = Client(name, jid, password, mechanism, ca)
    clients[name] = client
    direct = door == "direct"
    client.enable_direct_tls = direct
    client.enable_starttls = not direct
    client.enable_plaintext = False
    client.connect("127.0.0.1", int(port))


async def main(ca):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        command, name, *words = line.split(" ")
        if command == "connect":
            connect(ca, name, *words)
        elif command == "say":
            clients[name].send_message(mto=words[0], mbody=" ".join(words[1:]), mtype="chat")
        elif command == "close":
            await clients[name].disconnect()


logging.basicConfig(level=logging.ERROR)
asyncio.run(main(sys.argv[1]))
