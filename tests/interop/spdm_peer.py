#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# The other end of SPDM 1.2 over TCP, written from the specifications (DSP0274, DSP0277, DSP0287) apart from spdm/, in another language: transcripts
# are kept whole and hashed where the specification says so. Fixed to SHA-384, ECDHE on P-384, AES-256-GCM.
#
#	spdm_peer.py requester PORT             asks, checks signatures, speaks in a session, changes keys, ends it; prints the raw measurement 1
#	spdm_peer.py responder PORT CERT KEY MEASUREMENT HOST_DATA    serves one requester: sends back what it sends, in capitals
import os
import socket
import struct
import sys

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

H = hashes.SHA384()
P256, P384 = 1 << 4, 1 << 7


def digest(b):
	h = hashes.Hash(H)
	h.update(b)
	return h.finalize()


def mac(key, b):
	h = hmac.HMAC(key, H)
	h.update(b)
	return h.finalize()


def expand(secret, label, n, context=b""):  # n is at most a hash: one round
	return mac(secret, struct.pack("<H", n) + b"spdm1.2 " + label + context + b"\1")[:n]


def to_be_signed(context, transcript):
	return b"dmtf-spdm-v1.2.*" * 4 + bytes(36 - len(context)) + context + digest(transcript)


def verify(key, context, transcript, signature):
	n = len(signature) // 2
	der = utils.encode_dss_signature(int.from_bytes(signature[:n], "big"), int.from_bytes(signature[n:], "big"))
	key.verify(der, to_be_signed(context, transcript), ec.ECDSA(H))


def sign(key, context, transcript):
	r, s = utils.decode_dss_signature(key.sign(to_be_signed(context, transcript), ec.ECDSA(H)))
	n = key.key_size // 8
	return r.to_bytes(n, "big") + s.to_bytes(n, "big")


class Direction:
	def __init__(self, secret):
		self.secret, self.count = secret, 0
		self.key, self.iv = expand(secret, b"key", 32), expand(secret, b"iv", 12)

	def nonce(self):
		n = bytes(a ^ b for a, b in zip(self.iv, struct.pack("<Q", self.count) + bytes(4)))
		self.count += 1
		return n

	def updated(self):
		return Direction(expand(self.secret, b"traffic upd", 48))


class Peer:
	def __init__(self, s):
		self.s, self.session = s, None

	def read(self, n):
		b = b""
		while len(b) < n:
			more = self.s.recv(n - len(b))
			if not more:
				sys.exit("the connection ended")
			b += more
		return b

	def send(self, message, kind=5):
		if self.session is None:
			self.s.sendall(struct.pack("<HBB", len(message) + 2, 1, 5) + message)
			return
		text = struct.pack("<HBB", len(message) + 2, 1, kind) + message
		head = struct.pack("<IH", self.session, 2 + len(text) + 16)
		record = head + AESGCM(self.out.key).encrypt(self.out.nonce(), struct.pack("<H", len(text)) + text, head)
		self.s.sendall(struct.pack("<HBB", len(record) + 2, 1, 6) + record)

	def receive(self):  # (type, message)
		n, version, kind = struct.unpack("<HBB", self.read(4))
		b = self.read(n - 2)
		assert version == 1 and kind == (5 if self.session is None else 6), (version, kind)
		if self.session is None:
			return 5, b
		assert struct.unpack("<IH", b[:6]) == (self.session, len(b) - 6)
		text = AESGCM(self.come.key).decrypt(self.come.nonce(), b[6:], b[:6])
		text = text[2:2 + struct.unpack("<H", text[:2])[0]]
		return text[3], text[4:]

	def keys(self, secret, label, context):
		return Direction(expand(secret, b"req " + label, 48, context)), Direction(expand(secret, b"rsp " + label, 48, context))

	def handshake(self, shared, th1):
		self.secret = mac(bytes(48), shared)
		self.request, self.response = self.keys(self.secret, b"hs data", th1)
		return expand(self.request.secret, b"finished", 48), expand(self.response.secret, b"finished", 48)

	def application(self, th2):
		self.request, self.response = self.keys(mac(expand(self.secret, b"derived", 48), bytes(48)), b"app data", th2)


def dhe():
	key = ec.generate_private_key(ec.SECP384R1())
	return key, key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]


def shared(key, point):
	return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), b"\4" + point))


class Requester(Peer):
	def ask(self, message, code, at_most=None):
		self.send(message)
		kind, answer = self.receive()
		assert kind == 5 and answer[1] == code, answer[:16].hex()
		return answer

	def turn(self, request=True, response=True):
		self.out, self.come = self.request if request else self.out, self.response if response else self.come

	def run(self):
		vca = b""
		tables = bytes.fromhex("022010000320020005200100")
		for message, code in ((b"\x10\x84\0\0", 4), (b"\x12\xe1\0\0" + struct.pack("<IIII", 0, 0x62c0, 65000, 65000), 0x61),
				      (b"\x12\xe3\3\0" + struct.pack("<HBBII16x", 44, 1, 2, P256 | P384, 2) + tables, 0x63)):
			vca += message + (answer := self.ask(message, code))
		chosen, = struct.unpack_from("<I", answer, 12)
		size = {P256: 64, P384: 96}[chosen]
		m = vca + (q := b"\x12\x81\0\0") + (a := self.ask(q, 1))
		chain = b""
		while True:
			q = b"\x12\x82\0\0" + struct.pack("<HH", len(chain), 1000)
			m += q + (part := self.ask(q, 2))
			n, left = struct.unpack_from("<HH", part, 4)
			chain += part[8:8 + n]
			if not left:
				break
		assert digest(chain) == a[4:52] and struct.unpack_from("<H", chain)[0] == len(chain) and digest(chain[52:]) == chain[4:52]
		key = x509.load_der_x509_certificate(chain[52:]).public_key()
		q = b"\x12\x83\0\0" + os.urandom(32)
		a = self.ask(q, 3)
		assert a[4:52] == digest(chain)
		verify(key, b"responder-challenge_auth signing", m + q + a[:-size], a[-size:])
		own, point = dhe()
		offer = bytes.fromhex("1000" "01000000" "0000" "0500" "0101010012" "000000")
		q = b"\x12\xe4\0\0" + struct.pack("<HH", 0x1234, 0) + os.urandom(32) + point + offer
		a = self.ask(q, 0x64)
		th = vca + digest(chain) + q + a[:-48 - size]
		verify(key, b"responder-key_exchange_rsp signing", th, a[-48 - size:-48])
		th += a[-48 - size:-48]
		req, rsp = self.handshake(shared(own, a[40:136]), digest(th))
		assert mac(rsp, digest(th)) == a[-48:]
		th += a[-48:] + b"\x12\xe5\0\0"
		finish = mac(req, digest(th))
		self.session = 0x1234 | struct.unpack_from("<H", a, 4)[0] << 16
		self.turn()
		th += finish + self.ask(b"\x12\xe5\0\0" + finish, 0x65)
		self.application(digest(th))
		self.turn()
		q = b"\x12\xe0\3\1" + os.urandom(32) + b"\0"
		a = self.ask(q, 0x60)
		verify(key, b"responder-measurements signing", vca + q + a[:-size], a[-size:])
		print(a[15:15 + 48].hex())
		self.send(b"hello", 0x7d)
		assert self.receive() == (0x7d, b"hello")
		# New keys: the answer has the new one already.
		self.response = self.response.updated()
		self.send(b"\x12\xe9\2\x11")
		self.turn(request=False)
		assert self.receive() == (5, b"\x12\x69\2\x11")
		self.request = self.request.updated()
		self.turn(response=False)
		self.ask(b"\x12\xe9\3\x12", 0x69)
		self.ask(b"\x12\xe8\0\0", 0x68)
		self.send(b"again", 0x7d)
		assert self.receive() == (0x7d, b"again")
		self.ask(b"\x12\xec\0\0", 0x6c)
		print("all passed")


class Responder(Peer):
	def next(self, code, kind=5):
		got, q = self.receive()
		assert got == kind and (kind != 5 or q[1] == code), (got, q[:16].hex())
		return q

	def answer(self, code, message):
		q = self.next(code)
		self.send(message)
		return q + message

	def run(self, cert, key, registers):
		size = key.key_size // 4
		vca = self.answer(0x84, b"\x10\4\0\0\0\1\0\x12")
		vca += self.answer(0xe1, b"\x12\x61\0\0" + struct.pack("<IIII", 0, 0x42d6, 65000, 65000))
		vca += self.answer(0xe3, b"\x12\x63\3\0" + struct.pack("<HBBIII16x", 48, 1, 2, 4, P256 if size == 64 else P384, 2) +
				   bytes.fromhex("022010000320020005200100"))
		der = cert.public_bytes(serialization.Encoding.DER)
		chain = struct.pack("<HH", 52 + len(der), 0) + digest(der) + der
		m = vca + self.answer(0x81, b"\x12\1\0\1" + digest(chain))
		at = 0
		while at < len(chain):  # in small parts
			part = chain[at:at + 700]
			m += self.answer(0x82, b"\x12\2\0\0" + struct.pack("<HH", len(part), len(chain) - at - len(part)) + part)
			at += len(part)

		def block(index, kind, value):
			return struct.pack("<BBHBH", index, 1, 3 + len(value), kind, len(value)) + value

		names = b'{"1":"measurement","7":"snp.host_data"}'
		fixed = block(0xfd, 0x84, names) + block(0xfe, 0x85, struct.pack("<IIII", 4, 4, 3, 0))
		summary = digest(block(1, 1, digest(registers[0])) + block(7, 3, digest(registers[1])) + fixed)
		q = self.next(0x83)
		a = b"\x12\3\0\1" + digest(chain) + os.urandom(32) + summary + b"\0\0"
		self.send(a + sign(key, b"responder-challenge_auth signing", m + q + a))
		q = self.next(0xe4)
		own, point = dhe()
		choice = bytes.fromhex("0c00" "01000000" "0000" "0400" "01000012")
		a = b"\x12\x64\0\0" + struct.pack("<HH", 0x4321, 0) + os.urandom(32) + point + summary + choice
		th = vca + digest(chain) + q + a
		a += (signature := sign(key, b"responder-key_exchange_rsp signing", th))
		th += signature
		req, rsp = self.handshake(shared(own, q[40:136]), digest(th))
		th += (proof := mac(rsp, digest(th)))
		self.send(a + proof)
		self.session = struct.unpack_from("<H", q, 4)[0] | 0x4321 << 16
		self.out, self.come = self.response, self.request
		q = self.next(0xe5)
		assert mac(req, digest(th + q[:4])) == q[4:]
		self.send(b"\x12\x65\0\0")
		self.application(digest(th + q + b"\x12\x65\0\0"))
		self.out, self.come = self.response, self.request
		q = self.next(0xe0)
		record = block(1, 0x81, registers[0]) + block(7, 0x83, registers[1]) + fixed
		a = b"\x12\x60\0\0\4" + struct.pack("<I", len(record))[:3] + record + os.urandom(32) + b"\0\0"
		self.send(a + sign(key, b"responder-measurements signing", vca + q + a))
		while True:
			kind, b = self.receive()
			if kind != 5:
				self.send(b.upper(), kind)
			elif b[1] == 0xe0:  # no measurement of that number
				self.send(b"\x12\x7f\1\0")
			else:
				break
		assert b == b"\x12\xec\0\0", b.hex()
		self.send(b"\x12\x6c\0\0")


def main():
	if sys.argv[1] == "requester":
		try:
			Requester(socket.create_connection(("127.0.0.1", int(sys.argv[2])), 20)).run()
		except InvalidSignature:
			sys.exit("a signature does not hold")
		return
	cert = x509.load_pem_x509_certificate(open(sys.argv[3], "rb").read())
	key = serialization.load_pem_private_key(open(sys.argv[4], "rb").read(), None)
	listener = socket.socket()
	listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	listener.bind(("127.0.0.1", int(sys.argv[2])))
	listener.listen()
	listener.settimeout(60)
	while True:
		s = listener.accept()[0]
		s.settimeout(20)
		try:
			Responder(s).run(cert, key, [bytes.fromhex(x) for x in sys.argv[5:7]])
		except SystemExit:  # somebody who looks whether this listens
			continue
		return


main()
