package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.operations.IrqSet;

class FrameCodecTest {
  private static final Failure FAILURE = Failure.of(
      new NotSupportedException("reset", "a device", 25, "it has none", "use another"), "", "");

  static Stream<Frame> ofClients() {
    return Stream.of(
        new Frame.Hello(1, Session.NONE, List.of()),
        new Frame.Hello(7, new Session(1, -1), List.of(3, 0, Integer.MAX_VALUE)),
        new Frame.Call(0, CallType.RESET, Body.EMPTY),
        new Frame.Call(Integer.MAX_VALUE, CallType.FEATURE, new Body(new byte[] {1, 2, 3})),
        new Frame.Request(5, 1),
        new Frame.Request(0, Long.MAX_VALUE),
        new Frame.Ping(),
        new Frame.Goodbye());
  }

  static Stream<Frame> ofServers() {
    return Stream.of(
        new Frame.Welcome(new Session(4, 5), true, "0000:00:04.0", false, 30_000, 65_536, 64),
        new Frame.Result(9, Body.EMPTY),
        new Frame.Result(9, new Body(new byte[100])),
        new Frame.Failed(9, FAILURE),
        new Frame.Signals(2, 0),
        new Frame.Signals(2, Long.MAX_VALUE),
        new Frame.Ended(2, null),
        new Frame.Ended(2, FAILURE),
        new Frame.Pong(),
        new Frame.Closing(FAILURE));
  }

  @ParameterizedTest
  @MethodSource("ofClients")
  void clientsFramesComeOutAsTheyWentIn(Frame frame) {
    byte[] bytes = FrameCodec.encode(frame);
    assertThat(FrameCodec.fromClient(ByteBuffer.wrap(bytes))).isEqualTo(frame);
    assertThatThrownBy(() -> FrameCodec.fromServer(ByteBuffer.wrap(bytes)))
        .isInstanceOf(MalformedFrameException.class)
        .hasMessageContaining("none of a server's");
  }

  @ParameterizedTest
  @MethodSource("ofServers")
  void serversFramesComeOutAsTheyWentIn(Frame frame) {
    byte[] bytes = FrameCodec.encode(frame);
    assertThat(FrameCodec.fromServer(ByteBuffer.wrap(bytes))).isEqualTo(frame);
    assertThatThrownBy(() -> FrameCodec.fromClient(ByteBuffer.wrap(bytes)))
        .isInstanceOf(MalformedFrameException.class)
        .hasMessageContaining("none of a client's");
  }

  @Test
  void aFrameIsAsLongAsItsFieldsSay() {
    Stream.concat(ofClients(), ofServers()).forEach(frame -> {
      byte[] bytes = FrameCodec.encode(frame);
      // A body takes what is left, so that only the others have a length that can be wrong.
      boolean open = frame instanceof Frame.Call || frame instanceof Frame.Result;
      int shortest = open ? bytes.length - bodyOf(frame).length() : bytes.length;
      for (int length = 0; length < shortest; length++) {
        byte[] cut = Arrays.copyOf(bytes, length);
        assertThatThrownBy(() -> read(frame, cut))
            .as("%s cut to %d bytes", frame, length)
            .isInstanceOf(MalformedFrameException.class);
      }
      if (!open) {
        assertThatThrownBy(() -> read(frame, Arrays.copyOf(bytes, bytes.length + 1)))
            .as("%s with a byte more", frame)
            .isInstanceOf(MalformedFrameException.class);
      }
    });
  }

  private static Body bodyOf(Frame frame) {
    return frame instanceof Frame.Call call ? call.body() : ((Frame.Result) frame).body();
  }

  private static Frame read(Frame like, byte[] bytes) {
    return ofClients().anyMatch(like::equals)
        ? FrameCodec.fromClient(ByteBuffer.wrap(bytes))
        : FrameCodec.fromServer(ByteBuffer.wrap(bytes));
  }

  @Test
  void refusesWhatNoFrameSays() {
    refuses("positive", 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    refuses("positive", 3, 0, 0, 0, 1, 255, 0, 0, 0, 0, 0, 0, 0);
    refuses("negative", 3, 255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1);
    refuses("an operation", 2, 0, 0, 0, 1, 99);
    refuses("type 0", 0);
    refuses("type 255", 255);
    refuses("too many", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255);
    assertThatThrownBy(() -> FrameCodec.fromServer(bytes(19, 0, 0, 0, 1, 255, 0, 0, 0, 0, 0, 0, 0)))
        .hasMessageContaining("negative");
    assertThatThrownBy(() -> FrameCodec.fromServer(bytes(20, 0, 0, 0, 1, 2)))
        .hasMessageContaining("0 or 1");
    assertThatThrownBy(() -> FrameCodec.fromServer(bytes(22, 0, 2, 0xc3, 0x28)))
        .hasMessageContaining("UTF-8");
    assertThatThrownBy(() -> FrameCodec.fromServer(bytes(22, 0, 1, 'x')))
        .hasMessageContaining("no failure has this type");
  }

  private static void refuses(String why, int... bytes) {
    assertThatThrownBy(() -> FrameCodec.fromClient(bytes(bytes)))
        .isInstanceOf(MalformedFrameException.class)
        .hasMessageContaining(why);
  }

  private static ByteBuffer bytes(int... values) {
    ByteBuffer bytes = ByteBuffer.allocate(values.length);
    for (int value : values) {
      bytes.put((byte) value);
    }
    return bytes.flip();
  }

  /** Random bytes, and frames with some bytes changed: each is a frame or malformed, and nothing else. */
  @Test
  void whateverItIsGivenIsAFrameOrMalformed() {
    Random random = new Random(20261125);
    List<Frame> frames = Stream.concat(ofClients(), ofServers()).toList();
    int malformed = 0;
    for (int i = 0; i < 200_000; i++) {
      byte[] bytes;
      if (i % 2 == 0) {
        bytes = new byte[random.nextInt(80)];
        random.nextBytes(bytes);
        if (bytes.length > 0) {
          bytes[0] = (byte) random.nextInt(24);
        }
      } else {
        bytes = FrameCodec.encode(frames.get(random.nextInt(frames.size())));
        for (int n = random.nextInt(3); n >= 0; n--) {
          bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
        }
      }
      malformed += isMalformed(bytes, true) ? 1 : 0;
      malformed += isMalformed(bytes, false) ? 1 : 0;
    }
    assertThat(malformed).isBetween(100_000, 399_999);
  }

  private static boolean isMalformed(byte[] bytes, boolean client) {
    try {
      Frame frame = client
          ? FrameCodec.fromClient(ByteBuffer.wrap(bytes))
          : FrameCodec.fromServer(ByteBuffer.wrap(bytes));
      // What is taken for a frame is one: it says the same when it is written again.
      assertThat(FrameCodec.encode(frame)).isEqualTo(bytes);
      return false;
    } catch (MalformedFrameException e) {
      return true;
    }
  }

  @Test
  void argumentsAreReadStrictlyToo() {
    IrqRequest request = new IrqRequest(
        2, IrqSet.Action.TRIGGER, IrqSet.Data.EVENTFD, 1, 2, List.of(0, -1), List.of(9, 0));
    assertThat(IrqRequest.read(request.toBody())).isEqualTo(request);
    Random random = new Random(7);
    for (int i = 0; i < 100_000; i++) {
      byte[] bytes = request.toBody().bytes().clone();
      bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
      Body body =
          new Body(random.nextInt(4) == 0 ? Arrays.copyOf(bytes, random.nextInt(40)) : bytes);
      for (Runnable reading : List.<Runnable>of(
          () -> IrqRequest.read(body),
          () -> Bodies.Range.read(body, 4096),
          () -> Bodies.Write.read(body),
          () -> Bodies.deviceInfo(body),
          () -> Bodies.regionInfo(body),
          () -> Bodies.irqInfo(body),
          () -> Bodies.hotResetInfo(body),
          () -> Bodies.feature(body),
          () -> Bodies.number(body))) {
        try {
          reading.run();
        } catch (MalformedFrameException e) {
          assertThat(e.getStackTrace()).isEmpty();
        }
      }
    }
  }

  @Test
  void aTextIsCutBetweenCharacters() {
    String longText = "\u00fc".repeat(2000);
    Body body = Body.of(new WireWriter().u8(1).text("x" + longText));
    WireReader in = body.reader();
    in.u8("a byte");
    assertThat(in.text("a text")).startsWith("x\u00fc").endsWith("\u00fc").hasSize(1024);
    in.end();
  }
}
