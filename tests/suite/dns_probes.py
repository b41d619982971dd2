"""Asks DNS servers the same questions and prints what each did, as JSON: {server: {probe: result}}.

dns_probes.py NAME=ADDRESS:PORT:DOMAIN...

A server knows, in its DOMAIN: c1 with 10.1.0.2 and fd01::2, and many with 60 addresses 10.9.0.1 to 10.9.0.60.
The servers that it asks for other names are dead. A result is "ok", or what was seen in place of it.
"""

import concurrent.futures
import json
import sys
import time

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename

PATIENCE = 6


class Server:
    def __init__(self, text):
        self.name, place = text.split("=", 1)
        self.address, port, self.domain = place.rsplit(":", 2)
        self.port = int(port)

    def send(self, message, tcp=False):
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(message, self.address, timeout=PATIENCE, port=self.port)

    def ask(self, name, kind, tcp=False, **more):
        """A name with a dot at its end stands as it is; others are in the server's domain."""
        full = name if name.endswith(".") else f"{name}.{self.domain}."
        return self.send(dns.message.make_query(full, kind, **more), tcp)


def code(answer):
    return dns.rcode.to_text(answer.rcode())


def data(answer):
    return sorted(str(item) for rrset in answer.answer for item in rrset)


def has_authority(answer):
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in answer.authority)


def expect(condition, seen):
    return "ok" if condition else str(seen)


def addresses(server, kind, wanted):
    answer = server.ask("c1", kind)
    return expect(code(answer) == "NOERROR" and data(answer) == [wanted], (code(answer), data(answer)))


def no_data(server, kind):
    answer = server.ask("c1", kind)
    if code(answer) != "NOERROR" or answer.answer:
        return f"{code(answer)}, {len(answer.answer)} answers"
    return expect(has_authority(answer), "NODATA without SOA")


def apex(server, kind):
    answer = server.ask(f"{server.domain}.", kind)
    return expect(code(answer) == "NOERROR" and answer.answer, f"{code(answer)}, {len(answer.answer)} answers")


def no_name(server, name, kind="A"):
    answer = server.ask(name, kind)
    if code(answer) != "NXDOMAIN":
        return code(answer)
    return expect(has_authority(answer), "NXDOMAIN without SOA")


def authoritative(server):
    return expect(server.ask("c1", "A").flags & dns.flags.AA, "AA not set")


def case(server):
    name = f"C1.{server.domain.upper()}."
    answer = server.send(dns.message.make_query(name, "A"))
    return expect(str(answer.question[0].name) == name, answer.question[0].name)


def reverse(server):
    answer = server.send(dns.message.make_query(dns.reversename.from_address("10.1.0.2"), "PTR"))
    return expect(data(answer) == [f"c1.{server.domain}."], (code(answer), data(answer)))


def reverse6(server):
    answer = server.send(dns.message.make_query(dns.reversename.from_address("fd01::2"), "PTR"))
    return expect(data(answer) == [f"c1.{server.domain}."], (code(answer), data(answer)))


def dead_upstream(server):
    start = time.monotonic()
    answer = server.ask("www.example.com.", "A", use_edns=0)
    seconds = time.monotonic() - start
    errors = [int(option.code) for option in answer.options if option.otype == dns.edns.OptionType.EDE]
    return expect(code(answer) == "SERVFAIL" and seconds < 4.5 and errors == [22], (code(answer), f"{seconds:.1f} s", errors))


def cut(server):
    query = dns.message.make_query(f"many.{server.domain}.", "A", use_edns=False)
    answer = dns.query.udp(query, server.address, timeout=PATIENCE, port=server.port, raise_on_truncation=False)
    size = len(answer.to_wire())
    return expect(answer.flags & dns.flags.TC and size <= 512, f"{size} bytes, TC {bool(answer.flags & dns.flags.TC)}")


def whole_by_tcp(server):
    return expect(len(data(server.ask("many", "A", tcp=True))) == 60, "not 60 addresses")


def large_by_edns(server):
    answer = server.ask("many", "A", use_edns=0, payload=1232)
    return expect(len(data(answer)) == 60 and not answer.flags & dns.flags.TC, len(data(answer)))


def shuffled(server):
    firsts = {str(server.ask("many", "A", tcp=True).answer[0][0]) for _ in range(8)}
    return expect(len(firsts) > 1, "always the same first")


def unknown_option(server):
    option = dns.edns.GenericOption(65001, b"echo")
    answer = server.ask("c1", "A", use_edns=0, options=[option])
    return expect(not any(one.otype == 65001 for one in answer.options), "echoed")


def newer_edns(server):
    message = dns.message.make_query(f"c1.{server.domain}.", "A")
    message.use_edns(1)
    return expect(code(server.send(message)) == "BADVERS", code(server.send(message)))


def other_operation(server):
    message = dns.message.make_query(f"c1.{server.domain}.", "A")
    message.set_opcode(dns.opcode.STATUS)
    return expect(code(server.send(message)) == "NOTIMP", code(server.send(message)))


def transfer(server):
    message = dns.message.make_query(f"{server.domain}.", "AXFR")
    answer = server.send(message, tcp=True)
    return expect(code(answer) in ("REFUSED", "NOTAUTH") and not answer.answer, f"{code(answer)}, {len(answer.answer)} answers")


PROBES = {
    "c1 A": lambda one: addresses(one, "A", "10.1.0.2"),
    "c1 AAAA": lambda one: addresses(one, "AAAA", "fd01::2"),
    "c1 MX": lambda one: no_data(one, "MX"),
    "c1 TXT": lambda one: no_data(one, "TXT"),
    "c1 SRV": lambda one: no_data(one, "SRV"),
    "c1 HTTPS": lambda one: no_data(one, "HTTPS"),
    "c1 SOA": lambda one: no_data(one, "SOA"),
    "apex SOA": lambda one: apex(one, "SOA"),
    "apex NS": lambda one: apex(one, "NS"),
    "no such name": lambda one: no_name(one, "nobody"),
    "PTR": reverse,
    "PTR of IPv6": reverse6,
    "PTR of an unknown 10.x address": lambda one: no_name(one, "9.9.200.10.in-addr.arpa.", "PTR"),
    "www.example.com, dead upstream": dead_upstream,
    "60 addresses without EDNS": cut,
    "60 addresses by TCP": whole_by_tcp,
    "60 addresses by EDNS 1232": large_by_edns,
    "order of addresses": shuffled,
    "AA": authoritative,
    "case of the question": case,
    "an unknown option": unknown_option,
    "EDNS version 1": newer_edns,
    "an operation that nobody knows": other_operation,
    "AXFR": transfer,
}


def result(probe, server):
    try:
        return probe(server)
    except dns.exception.Timeout:
        return "no answer"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def results(server):
    # One that does not answer does not hold up the others.
    with concurrent.futures.ThreadPoolExecutor(len(PROBES)) as pool:
        return dict(zip(PROBES, pool.map(lambda probe: result(probe, server), PROBES.values())))


print(json.dumps({one.name: results(one) for one in map(Server, sys.argv[1:])}))
