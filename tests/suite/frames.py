"""Frames made by hand.

    frames.py send INTERFACE KEY=VALUE...   sends every frame of the matrix, and prints how many
    frames.py flood INTERFACE KEY=VALUE...  sends one to the peer, by the gateway and directly, until it is ended
    frames.py hear INTERFACE                prints those that arrive, a line each, until it is ended

The keys are addresses: mac, ip4, ip6, link_ip6 of the sender; peer_* of a neighbour and far_* of one in another network;
gateway_*; stranger_* of none; port_mac of the host's end of the sender's pair.
"""

import socket
import struct
import sys
import time

# In each frame.
MARK = b"weft-frame"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(source, target, protocol, data, flags=0, offset=0, options=b"", ident=1, ttl=64):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(data), ident, flags << 13 | offset, ttl, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target) + options
    return head[:10] + struct.pack("!H", sum16(head)) + head[12:] + data


def ip6(source, target, protocol, data, hops=64):
    head = struct.pack("!IHBB", 0x60000000, len(data), protocol, hops)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + data


def sum_of(source, target, protocol, data, at):
    """The data with its checksum at a place, by the pseudo-header of either family."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    value = sum16(pseudo + struct.pack("!II", len(data), protocol) + data) or 0xFFFF
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]


def udp(source, target, port, data):
    return sum_of(source, target, 17, struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data, 6)


def tcp(source, target, flags, data, port=9):
    return sum_of(source, target, 6, struct.pack("!HHIIBBHHH", 4000, port, 1, 1, 0x50, flags, 1000, 0, 0) + data, 16)


def icmp(kind, code, data):
    body = struct.pack("!BBHI", kind, code, 0, 0) + data
    return body[:2] + struct.pack("!H", sum16(body)) + body[4:]


def icmp6(source, target, kind, code, data):
    return sum_of(source, target, 58, struct.pack("!BBHI", kind, code, 0, 0) + data, 2)


def arp(operation, mac_of, ip_of, to_mac, to_ip):
    head = struct.pack("!HHBBH", 1, 0x800, 6, 4, operation)
    return head + mac(mac_of) + socket.inet_aton(ip_of) + mac(to_mac) + socket.inet_aton(to_ip)


def with_type(number, data, tags=()):
    return b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", number) + data


def packets4(own, source, target, text):
    """IPv4 packets from and to two addresses."""
    for port in (9, 53, 80):
        yield ip4(source, target, 17, udp(source, target, port, text))
    for flags in (0x00, 0x01, 0x02, 0x04, 0x10, 0x12, 0x29, 0x3F):
        yield ip4(source, target, 6, tcp(source, target, flags, text))
    whole = udp(source, target, 9, text + b"x" * 64)
    yield ip4(source, target, 17, whole[:24] + text, flags=1, ident=77)
    yield ip4(source, target, 17, text + whole[24:], offset=3, ident=77)
    yield ip4(source, target, 17, text, offset=100, ident=78)
    yield ip4(source, target, 6, tcp(source, target, 2, text)[:8], flags=1, ident=79)
    yield ip4(source, target, 17, udp(source, target, 9, text), options=b"\x83\x07\x04" + socket.inet_aton(target) + b"\0")
    yield ip4(source, target, 17, udp(source, target, 9, text), options=b"\x94\x04\0\0")
    inner = ip4(own, target, 17, udp(own, target, 9, text))
    yield ip4(source, target, 4, inner)
    yield ip4(source, target, 47, struct.pack("!HH", 0, 0x800) + inner)
    yield ip4(source, target, 17, udp(source, target, 4789, struct.pack("!II", 0x08000000, 0x100) + b"\2" * 12 + with_type(0x800, inner)))
    for protocol in (0, 2, 41, 50, 51, 88, 89, 103, 112, 115, 132, 136, 137, 255):
        yield ip4(source, target, protocol, text + b"\0" * 32)


def errors4(source, target, text):
    """Every type of ICMP; errors quote a packet of the one that they are sent to."""
    quoted = ip4(target, source, 17, udp(target, source, 9, text))
    for kind in range(256):
        yield ip4(source, target, 1, icmp(kind, 0, quoted + text))
    for code in range(1, 16):
        yield ip4(source, target, 1, icmp(3, code, quoted + text))


def packets6(source, target, text):
    """IPv6 packets from and to two addresses, with every kind of extension header."""
    plain = udp(source, target, 9, text)
    yield ip6(source, target, 17, plain)
    for flags in (0x01, 0x02, 0x04, 0x10):
        yield ip6(source, target, 6, tcp(source, target, flags, text))
    pad = lambda following: struct.pack("!BB", following, 0) + b"\x01\x04\0\0\0\0"
    for header in (0, 60):
        yield ip6(source, target, header, pad(17) + plain)
    yield ip6(source, target, 0, pad(60) + pad(17) + plain)
    yield ip6(source, target, 60, pad(60) + pad(58) + icmp6(source, target, 128, 0, text))
    routing = struct.pack("!BBBBI", 17, 2, 0, 1, 0) + socket.inet_pton(socket.AF_INET6, target)
    yield ip6(source, target, 43, routing + plain)
    for offset, more in ((0, 1), (8, 0), (0, 0), (64, 1)):
        yield ip6(source, target, 44, struct.pack("!BBHI", 17, 0, offset & ~7 | more, 9) + plain)
    yield ip6(source, target, 44, struct.pack("!BBHI", 58, 0, 1, 10) + icmp6(source, target, 134, 0, text))
    yield ip6(source, target, 59, text)
    yield ip6(source, target, 41, ip6(source, target, 17, plain))
    for protocol in (4, 47, 50, 51, 103, 112, 132, 135, 139, 255):
        yield ip6(source, target, protocol, text + b"\0" * 32)


def errors6(source, target, text):
    quoted = ip6(target, source, 17, udp(target, source, 9, text))
    for kind in range(256):
        yield ip6(source, target, 58, icmp6(source, target, kind, 0, quoted[:40] + text), 255)


def others(of, text):
    """What is no IP packet."""
    for operation in (1, 2, 3, 4, 8, 9):
        for claimed in (of["ip4"], of["peer_ip4"], of["gateway_ip4"], "10.99.9.9"):
            for asked in (of["peer_ip4"], of["gateway_ip4"]):
                yield with_type(0x806, arp(operation, of["mac"], claimed, "00:00:00:00:00:00", asked) + text)
    for number in (0x8035, 0x86DE, 0x8847, 0x8848, 0x8863, 0x8864, 0x888E, 0x88CC, 0x88E5, 0x88F7, 0x8906, 0x9000, 0xFFFF):
        yield with_type(number, text + b"\0" * 40)
    # IEEE 802.2: a length in place of the type.
    for start in (b"\xaa\xaa\x03\0\0\0\x08\0", b"\x42\x42\x03\0\0\0\0\0", b"\xe0\xe0\x03", b"\xff\xff\x03"):
        data = start + text + b"\0" * 40
        yield with_type(len(data), data)


def frames(of):
    """Destination MAC and what follows the source MAC, of every frame."""
    receivers = [of["gateway_mac"], of["peer_mac"], of["port_mac"], "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"]
    receivers += ["01:80:c2:00:00:%02x" % last for last in (0, 1, 2, 3, 0xE, 0xF)]
    gateway = of["gateway_mac"]
    for target in (of["peer_ip4"], of["far_ip4"]):
        for source in ("ip4", "peer_ip4", "stranger_ip4"):
            for packet in packets4(of["ip4"], of[source], target, MARK):
                yield gateway, with_type(0x800, packet)
        for packet in errors4(of["ip4"], target, MARK):
            yield gateway, with_type(0x800, packet)
    for target in (of["peer_ip6"], of["far_ip6"]):
        for source in ("ip6", "link_ip6", "stranger_ip6"):
            for packet in packets6(of[source], target, MARK):
                yield gateway, with_type(0x86DD, packet)
        for packet in errors6(of["ip6"], target, MARK):
            yield gateway, with_type(0x86DD, packet)
    plain4 = [ip4(of["ip4"], target, 17, udp(of["ip4"], target, 9, MARK)) for target in (of["peer_ip4"], of["far_ip4"])]
    receivers6 = (of["peer_ip6"], of["peer_link_ip6"], "ff02::1")
    plain6 = [ip6(of["link_ip6"], target, 17, udp(of["link_ip6"], target, 9, MARK)) for target in receivers6]
    for receiver in receivers:
        for packet in plain4:
            yield receiver, with_type(0x800, packet)
            for tags in ([(0x8100, 0)], [(0x8100, 1)], [(0x88A8, 1)], [(0x8100, 1)] * 2, [(0x88A8, 0), (0x8100, 0)]):
                yield receiver, with_type(0x800, packet, tags)
        for packet in plain6:
            yield receiver, with_type(0x86DD, packet)
        for frame in others(of, MARK):
            yield receiver, frame


def send(interface, of):
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((interface, 0))
    count = 0
    for receiver, rest in frames(of):
        frame = mac(receiver) + mac(of["mac"]) + rest
        sender.send(frame + b"\0" * (60 - len(frame)))
        count += 1
        if count % 100 == 0:
            time.sleep(0.01)
    print(count)


def hear(interface):
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    listener.bind((interface, 0))
    print("ready", flush=True)
    while True:
        frame, (_, _, kind, _, _) = listener.recvfrom(65535)
        if kind != socket.PACKET_OUTGOING and MARK in frame:
            print(frame[:96].hex(), flush=True)


def flood(interface, of):
    """Sends one packet to the peer again and again: by the gateway, and to its MAC."""
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((interface, 0))
    packet = with_type(0x800, ip4(of["ip4"], of["peer_ip4"], 17, udp(of["ip4"], of["peer_ip4"], 9, MARK)))
    frames = [mac(receiver) + mac(of["mac"]) + packet for receiver in (of["gateway_mac"], of["peer_mac"])]
    while True:
        for frame in frames:
            sender.send(frame)


if __name__ == "__main__":
    if sys.argv[1] == "flood":
        flood(sys.argv[2], dict(word.split("=", 1) for word in sys.argv[3:]))
    elif sys.argv[1] == "send":
        send(sys.argv[2], dict(word.split("=", 1) for word in sys.argv[3:]))
    else:
        hear(sys.argv[2])
