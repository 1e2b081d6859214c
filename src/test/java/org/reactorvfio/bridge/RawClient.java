package org.reactorvfio.bridge;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;

/** A client that is bound by no rule: bytes on a socket. */
final class RawClient implements AutoCloseable {
  private static final int LIMIT_MILLIS = 30_000;

  final Socket socket = new Socket();
  private final DataInputStream in;
  private final OutputStream out;

  RawClient(VfioBridge bridge) throws IOException {
    this(bridge, 0);
  }

  /** With a receive buffer of this size. */
  RawClient(VfioBridge bridge, int receiveBuffer) throws IOException {
    if (receiveBuffer > 0) {
      socket.setReceiveBufferSize(receiveBuffer);
    }
    socket.setTcpNoDelay(true);
    socket.setSoTimeout(LIMIT_MILLIS);
    socket.connect(
        new InetSocketAddress(InetAddress.getLoopbackAddress(), bridge.uri().getPort()));
    in = new DataInputStream(socket.getInputStream());
    out = socket.getOutputStream();
  }

  RawClient send(String text) throws IOException {
    return send(text.getBytes(StandardCharsets.ISO_8859_1));
  }

  RawClient send(byte[] bytes) throws IOException {
    out.write(bytes);
    return this;
  }

  /** All that comes until the server closes. */
  String readAll() throws IOException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    try {
      in.transferTo(all);
    } catch (SocketException e) {
      // Closed with something of ours unread.
    }
    return all.toString(StandardCharsets.ISO_8859_1);
  }

  /** The head of a response. */
  String readHead() throws IOException {
    StringBuilder head = new StringBuilder();
    while (head.indexOf("\r\n\r\n") < 0) {
      head.append((char) in.readUnsignedByte());
    }
    return head.toString();
  }

  /** Becomes a WebSocket. */
  RawClient upgrade(String device, String token) throws IOException {
    send("GET /v1/devices/" + device + "/connect HTTP/1.1\r\nHost: localhost\r\n"
        + "Authorization: Bearer " + token + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    String head = readHead();
    if (!head.startsWith("HTTP/1.1 101 ")) {
      throw new IOException(head);
    }
    return this;
  }

  /** A WebSocket frame with a mask that changes nothing. */
  static byte[] webSocketFrame(int firstByte, byte[] content) {
    ByteArrayOutputStream frame = new ByteArrayOutputStream();
    frame.write(firstByte);
    if (content.length < 126) {
      frame.write(0x80 | content.length);
    } else {
      frame.write(0x80 | 126);
      frame.write(content.length >>> 8);
      frame.write(content.length);
    }
    frame.writeBytes(new byte[4]);
    frame.writeBytes(content);
    return frame.toByteArray();
  }

  RawClient send(Frame frame) throws IOException {
    return send(webSocketFrame(0x82, FrameCodec.encode(frame)));
  }

  /** The next message of the server, null for the end; {@link #closeCode} tells which. */
  Frame read() throws IOException {
    while (true) {
      int first;
      try {
        first = in.readUnsignedByte();
      } catch (EOFException | SocketException e) {
        return null;
      }
      int length = in.readUnsignedByte();
      if (length == 126) {
        length = in.readUnsignedShort();
      }
      byte[] content = in.readNBytes(length);
      if ((first & 0xf) == 8) {
        if (content.length >= 2) {
          closeCode = (content[0] & 0xff) << 8 | (content[1] & 0xff);
          reason = new String(content, 2, content.length - 2, StandardCharsets.UTF_8);
        }
        return null;
      }
      if ((first & 0xf) == 2) {
        return FrameCodec.fromServer(java.nio.ByteBuffer.wrap(content));
      }
    }
  }

  int closeCode;
  String reason = "";

  /** Reads until the server closes, and returns the code that it gives. */
  int readCloseCode() throws IOException {
    while (read() != null) {
      // Not what is asked for.
    }
    return closeCode;
  }

  @Override
  public void close() throws IOException {
    socket.close();
  }
}
