"""Clients and components by slixmpp, driven by lines on standard input.

    connect NAME JID PASSWORD PORT starttls|direct MECHANISM|-
    say NAME TO TEXT
    close NAME
    roster NAME | subscribe NAME JID            asks; whoever is asked allows it, and asks back
    register NAME JID PASSWORD PORT             makes the account, then connects
    password NAME NEW | cancel NAME             by XEP-0077
    command NAME NODE VAR=VALUE...              by XEP-0050 and XEP-0133
    component NAME DOMAIN[/INSTANCE] SECRET PORT    says every message back, and lets everybody see it
    presence NAME TO                            directed
    ping NAME TO                                by XEP-0199

Every line of the output is something that happened to a client:
    NAME online JID | NAME heard FROM TEXT | NAME error FROM CONDITION
    NAME stream-error CONDITION | NAME refused CONDITION | NAME mechanism M
    NAME offline | NAME registered | NAME did WHAT | NAME failed CONDITION
    NAME command STATUS NOTE | NAME sees JID | NAME loses JID
    NAME has JID SUBSCRIPTION, for each contact, then NAME has all
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
        for plugin in ("xep_0077", "xep_0050", "xep_0004", "xep_0199"):
            self.register_plugin(plugin)
        self["xep_0077"].create_account = False
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.heard)
        self.add_event_handler("message_error", self.bounced)
        self.add_event_handler("failed_auth", self.refused)
        self.add_event_handler("stream_error", self.stream_error)
        self.add_event_handler("disconnected", lambda why: say(name, "offline"))
        self.add_event_handler("presence_available", self.sees)
        self.add_event_handler("presence_unavailable", self.loses)

    async def start(self, _):
        self.send_presence()
        say(self.name, "mechanism", self["feature_mechanisms"].mech.name)
        say(self.name, "online", self.boundjid.full)

    def heard(self, message):
        if message["type"] in ("chat", "normal"):
            say(self.name, "heard", message["from"], message["body"])

    def sees(self, presence):
        if presence["from"].bare != self.boundjid.bare:
            say(self.name, "sees", presence["from"])

    def loses(self, presence):
        if presence["from"].bare != self.boundjid.bare:
            say(self.name, "loses", presence["from"])

    async def tell_roster(self):
        await self.get_roster()
        for jid in sorted(self.client_roster):
            say(self.name, "has", jid, self.client_roster[jid]["subscription"])
        say(self.name, "has all")

    def bounced(self, message):
        say(self.name, "error", message["from"], message["error"]["condition"])

    def refused(self, failure):
        say(self.name, "refused", failure["condition"])

    def stream_error(self, error):
        say(self.name, "stream-error", error["condition"])


class Component(slixmpp.ComponentXMPP):
    def __init__(self, name, to, secret, port):
        domain = to.partition("/")[0]
        super().__init__(domain, secret, "127.0.0.1", int(port))
        self.stream_header = self.stream_header.replace(f'to="{domain}"', f'to="{to}"')
        self.name = name
        self.auto_reconnect = False
        for plugin in ("xep_0030", "xep_0199"):
            self.register_plugin(plugin)
        self["xep_0030"].add_identity(category="gateway", itype="test", name="A " + name)
        self.add_event_handler("session_start", lambda _: say(name, "online", domain))
        self.add_event_handler("message", self.heard)
        self.add_event_handler("message_error", self.bounced)
        self.add_event_handler("stream_error", self.stream_error)
        self.add_event_handler("disconnected", lambda why: say(name, "offline"))
        self.add_event_handler("presence_available", lambda p: say(name, "sees", p["from"]))
        self.add_event_handler("presence_unavailable", lambda p: say(name, "loses", p["from"]))
        self.add_event_handler("presence_subscribe", self.asked)

    def heard(self, message):
        if message["type"] in ("chat", "normal"):
            say(self.name, "heard", message["from"], message["body"])
            message.reply(f"{self.name} {message['body']}").send()

    def bounced(self, message):
        say(self.name, "error", message["from"], message["error"]["condition"])

    def asked(self, presence):
        say(self.name, "asked", presence["from"])
        here = {"pfrom": presence["to"], "pto": presence["from"]}
        self.send_presence(ptype="subscribed", **here)
        self.send_presence(**here)

    def stream_error(self, error):
        say(self.name, "stream-error", error["condition"])


class Newcomer(Client):
    def __init__(self, *words):
        super().__init__(*words)
        self["xep_0077"].create_account = True
        self.add_event_handler("register", self.register)

    async def register(self, _):
        iq = self.Iq()
        iq["type"] = "set"
        iq["register"]["username"] = self.boundjid.user
        iq["register"]["password"] = self.password
        await report(self, "registered", iq.send())


async def report(client, what, answer):
    try:
        await answer
        say(client.name, what)
    except slixmpp.exceptions.IqError as error:
        say(client.name, "failed", error.iq["error"]["condition"])


def give(client, node, fields):
    def fill_in(_, session):
        form = client["xep_0004"].make_form(ftype="submit")
        for field in fields:
            var, value = field.split("=", 1)
            form.add_field(var=var, value=value)
        session["payload"] = form
        session["next"] = told
        client["xep_0050"].complete_command(session)

    def told(iq, _):
        notes = [text for _, text in iq["command"]["notes"]]
        say(client.name, "command", iq["command"]["status"], *notes)

    def failed(iq, _):
        say(client.name, "failed", iq["error"]["condition"])

    full = "http://jabber.org/protocol/admin#" + node
    client["xep_0050"].start_command(client.boundjid.host, full, {"next": fill_in, "error": failed})


def connect(ca, name, jid, password, port, door, mechanism):
    kind = Newcomer if mechanism == "register" else Client
    client = kind(name, jid, password, "-" if kind is Newcomer else mechanism, ca)
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
        elif command == "component":
            clients[name] = Component(name, *words)
            clients[name].connect()
        elif command == "presence":
            clients[name].send_presence(pto=words[0])
        elif command == "ping":
            client = clients[name]
            ping = client["xep_0199"].send_ping(words[0], timeout=30)
            await report(client, "pong", ping)
        elif command == "roster":
            await clients[name].tell_roster()
        elif command == "subscribe":
            clients[name].send_presence_subscription(pto=words[0])
        elif command == "register":
            connect(ca, name, words[0], words[1], words[2], "direct", "register")
        elif command == "password":
            changed = clients[name]["xep_0077"].change_password(words[0])
            await report(clients[name], "did password", changed)
        elif command == "cancel":
            cancelled = clients[name]["xep_0077"].cancel_registration()
            await report(clients[name], "did cancel", cancelled)
        elif command == "command":
            give(clients[name], words[0], words[1:])
        elif command == "close":
            await clients[name].disconnect()


logging.basicConfig(level=logging.ERROR)
asyncio.run(main(sys.argv[1]))
