package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Frames as bytes: a type, then the fields, big-endian. A frame is as long as its fields say, not a byte longer; what is anything
 * else is refused. Holds no state.
 */
final class FrameCodec {
  private static final int HELLO = 1;
  private static final int CALL = 2;
  private static final int REQUEST = 3;
  private static final int PING = 4;
  private static final int GOODBYE = 5;
  private static final int WELCOME = 16;
  private static final int RESULT = 17;
  private static final int FAILED = 18;
  private static final int SIGNALS = 19;
  private static final int ENDED = 20;
  private static final int PONG = 21;
  private static final int CLOSING = 22;

  private FrameCodec() {}

  static byte[] encode(Frame frame) {
    WireWriter out = new WireWriter();
    if (frame instanceof Frame.Hello hello) {
      out.u8(HELLO).u16(hello.version());
      session(out, hello.session()).u16(hello.streams().size());
      hello.streams().forEach(out::i32);
    } else if (frame instanceof Frame.Call call) {
      out.u8(CALL).i32(call.id());
      out.choice(CallType.values(), call.type()).bytes(call.body().bytes());
    } else if (frame instanceof Frame.Request request) {
      out.u8(REQUEST).i32(request.stream()).i64(request.n());
    } else if (frame instanceof Frame.Ping) {
      out.u8(PING);
    } else if (frame instanceof Frame.Goodbye) {
      out.u8(GOODBYE);
    } else if (frame instanceof Frame.Welcome welcome) {
      session(out.u8(WELCOME), welcome.session())
          .flag(welcome.resumed())
          .text(welcome.device())
          .flag(welcome.isolated())
          .i32(welcome.graceMillis())
          .i32(welcome.messageBytes())
          .i32(welcome.calls());
    } else if (frame instanceof Frame.Result result) {
      out.u8(RESULT).i32(result.id()).bytes(result.body().bytes());
    } else if (frame instanceof Frame.Failed failed) {
      failed.failure().write(out.u8(FAILED).i32(failed.id()));
    } else if (frame instanceof Frame.Signals signals) {
      out.u8(SIGNALS).i32(signals.stream()).i64(signals.total());
    } else if (frame instanceof Frame.Ended ended) {
      Failure failure = ended.failure();
      out.u8(ENDED).i32(ended.stream()).flag(failure != null);
      if (failure != null) {
        failure.write(out);
      }
    } else if (frame instanceof Frame.Pong) {
      out.u8(PONG);
    } else if (frame instanceof Frame.Closing closing) {
      closing.failure().write(out.u8(CLOSING));
    }
    return out.toBytes();
  }

  private static WireWriter session(WireWriter out, Session session) {
    return out.i64(session.high()).i64(session.low());
  }

  /** Reads a frame that a client sends. */
  static Frame fromClient(ByteBuffer bytes) {
    WireReader in = new WireReader(bytes);
    int type = in.u8("the type");
    Frame frame = switch (type) {
      case HELLO -> hello(in);
      case CALL ->
        new Frame.Call(
            in.natural("a call's number"),
            in.choice(CallType.values(), "an operation"),
            new Body(in.rest()));
      case REQUEST -> new Frame.Request(in.natural("a stream"), demand(in));
      case PING -> new Frame.Ping();
      case GOODBYE -> new Frame.Goodbye();
      default -> throw new MalformedFrameException("type " + type + " is none of a client's");
    };
    in.end();
    return frame;
  }

  private static long demand(WireReader in) {
    long n = in.i64("a demand");
    if (n <= 0) {
      throw new MalformedFrameException("a demand must be positive, not " + n);
    }
    return n;
  }

  private static Frame.Hello hello(WireReader in) {
    int version = in.u16("the version");
    Session session = readSession(in);
    int count = in.u16("the number of streams");
    if (count > Frame.MAX_STREAMS) {
      throw new MalformedFrameException(count + " streams are too many");
    }
    List<Integer> streams = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      streams.add(in.natural("a stream"));
    }
    return new Frame.Hello(version, session, streams);
  }

  private static Session readSession(WireReader in) {
    return new Session(in.i64("a session"), in.i64("a session"));
  }

  /** Reads a frame that a server sends. */
  static Frame fromServer(ByteBuffer bytes) {
    WireReader in = new WireReader(bytes);
    int type = in.u8("the type");
    Frame frame = switch (type) {
      case WELCOME ->
        new Frame.Welcome(
            readSession(in),
            in.flag("whether the session was resumed"),
            in.text("the device's name"),
            in.flag("whether the device is isolated"),
            in.natural("the time that a session is kept"),
            in.natural("the length of a message"),
            in.natural("the number of calls"));
      case RESULT -> new Frame.Result(in.natural("a call's number"), new Body(in.rest()));
      case FAILED -> new Frame.Failed(in.natural("a call's number"), Failure.read(in));
      case SIGNALS -> new Frame.Signals(in.natural("a stream"), total(in));
      case ENDED -> new Frame.Ended(in.natural("a stream"), optionalFailure(in));
      case PONG -> new Frame.Pong();
      case CLOSING -> new Frame.Closing(Failure.read(in));
      default -> throw new MalformedFrameException("type " + type + " is none of a server's");
    };
    in.end();
    return frame;
  }

  private static @Nullable Failure optionalFailure(WireReader in) {
    return in.flag("whether there is a failure") ? Failure.read(in) : null;
  }

  private static long total(WireReader in) {
    long total = in.i64("a total");
    if (total < 0) {
      throw new MalformedFrameException("a total is negative: " + total);
    }
    return total;
  }
}
