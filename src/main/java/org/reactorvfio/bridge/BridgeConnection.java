package org.reactorvfio.bridge;

import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.websocketx.BinaryWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PingWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PongWebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.SynchronousSink;
import reactor.netty.http.websocket.WebsocketInbound;
import reactor.netty.http.websocket.WebsocketOutbound;
import reactor.util.Logger;
import reactor.util.Loggers;

/** One WebSocket of a client: which session it is for, and the frames in both directions. */
final class BridgeConnection {
  private static final Logger LOG = Loggers.getLogger(BridgeConnection.class);

  private static final int PROTOCOL_ERROR = 1002;
  private static final int POLICY_VIOLATION = 1008;
  private static final int TOO_BIG = 1009;
  private static final int INTERNAL_ERROR = 1011;
  private static final int NORMAL = 1000;

  /** A close frame has room for 123 bytes of text. */
  private static final int LONGEST_REASON = 100;

  /** How long a client may take to read the last frames. */
  private static final Duration LINGER = Duration.ofSeconds(5);

  private final BridgeSessions sessions;
  private final BridgeSessions.Maker maker;
  private final Export export;
  private final Access.Token token;
  private final BridgeLimits limits;

  private final Outbox outbox = new Outbox();
  private final RateLimit frames;
  private volatile long lastFrame = System.nanoTime();
  private @Nullable BridgeSession session;
  private boolean leaving;
  private volatile @Nullable Refusal refusal;

  BridgeConnection(
      BridgeSessions sessions,
      BridgeSessions.Maker maker,
      Export export,
      Access.Token token,
      BridgeLimits limits) {
    this.sessions = sessions;
    this.maker = maker;
    this.export = export;
    this.token = token;
    this.limits = limits;
    this.frames = new RateLimit(limits.framesPerSecond(), System.nanoTime());
  }

  Publisher<Void> run(WebsocketInbound in, WebsocketOutbound out) {
    Mono<Void> received = in.aggregateFrames(limits.messageBytes())
        .receiveFrames()
        .<byte[]>handle(this::content)
        .concatMap(this::inTime, 1)
        .concatMap(this::receive, 1)
        .then()
        .onErrorResume(TooLongFrameException.class, e -> {
          refuse(new Refusal(TOO_BIG, "a message has at most " + limits.messageBytes() + " bytes"));
          return Mono.empty();
        });
    Mono<Void> sent = out.sendObject(outbox.frames(), any -> true).then();
    // It ends when all that there is to say was sent, and the reason after it: what ends the
    // receiving ends that. A client that does not take it is waited for no longer than that.
    Mono<Void> lingered =
        outbox.onEnd().then(Mono.delay(LINGER)).doOnNext(tick -> cut(in)).then();
    return Mono.firstWithSignal(
            sent.then(Mono.defer(() -> goodbye(out))),
            received.takeUntilOther(silence()).doOnSuccess(end -> outbox.end()).then(Mono.never()),
            lingered)
        .onErrorResume(e -> {
          LOG.debug("a connection broke", e);
          return Mono.empty();
        })
        .doFinally(end -> gone());
  }

  private Mono<Void> goodbye(WebsocketOutbound out) {
    Refusal why = refusal;
    if (why == null) {
      return out.sendClose(NORMAL, "");
    }
    String reason = String.valueOf(why.getMessage());
    LOG.warn("a connection to {} was closed: {}", export.name(), reason);
    return out.sendClose(
        why.status, reason.substring(0, Math.min(reason.length(), LONGEST_REASON)));
  }

  /** Ends the connection with a reason. */
  private static final class Refusal extends RuntimeException {
    private static final long serialVersionUID = 1L;
    final int status;

    Refusal(int status, String why) {
      super(why, null, false, false);
      this.status = status;
    }
  }

  private static void cut(WebsocketInbound in) {
    in.withConnection(connection -> connection
        .channel()
        .close()
        .addListener(closed -> LOG.debug("a connection did not take its last frames")));
  }

  private void content(WebSocketFrame frame, SynchronousSink<byte[]> sink) {
    // No frame is empty: what is not binary is as malformed as that.
    boolean control = frame instanceof PingWebSocketFrame || frame instanceof PongWebSocketFrame;
    boolean content = control || frame instanceof BinaryWebSocketFrame;
    byte[] bytes = new byte[content ? frame.content().readableBytes() : 0];
    frame.content().readBytes(bytes);
    if (control) {
      // Costs as much as another, and is answered as far as answers are taken.
      lastFrame = System.nanoTime();
      if (frame instanceof PingWebSocketFrame && outbox.hasRoom()) {
        outbox.pong(bytes);
      }
    } else {
      sink.next(bytes);
    }
  }

  /** Lets no more than so many frames in a second in: what comes faster waits in the network. */
  private Mono<byte[]> inTime(byte[] frame) {
    long now = System.nanoTime();
    lastFrame = now;
    long early = frames.take(now);
    return early == 0
        ? Mono.just(frame)
        : Mono.delay(Duration.ofNanos(early)).then(Mono.defer(() -> inTime(frame)));
  }

  private Flux<Long> silence() {
    Duration step = limits.idle().dividedBy(2);
    return Flux.interval(step)
        .filter(tick -> System.nanoTime() - lastFrame >= limits.idle().toNanos())
        .doOnNext(tick -> LOG.info("a connection to {} was silent for too long", export.name()));
  }

  private Mono<Void> receive(byte[] bytes) {
    return outbox.hasRoom()
        ? receiveNow(bytes)
        : outbox.room().then(Mono.defer(() -> receiveNow(bytes)));
  }

  /** Fails never: an error would close the connection before its reason is told. */
  private Mono<Void> receiveNow(byte[] bytes) {
    if (refusal != null) {
      return Mono.empty();
    }
    try {
      return received(bytes);
    } catch (MalformedFrameException e) {
      refuse(new Refusal(PROTOCOL_ERROR, String.valueOf(e.getMessage())));
    } catch (Refusal e) {
      refuse(e);
    } catch (RuntimeException | Error e) {
      // A fault of ours: it must not look like a broken connection, which is mended by another.
      LOG.error("a message to " + export.name() + " could not be handled", e);
      refuse(new Refusal(INTERNAL_ERROR, "the server failed: see its log"));
    }
    return Mono.empty();
  }

  private void refuse(Refusal why) {
    refusal = why;
    outbox.end();
  }

  private Mono<Void> received(byte[] bytes) {
    Frame frame = FrameCodec.fromClient(ByteBuffer.wrap(bytes));
    BridgeSession present = session;
    if (frame instanceof Frame.Hello hello) {
      if (present != null) {
        throw new MalformedFrameException("a session is asked for once");
      }
      hello(hello);
    } else if (present == null) {
      throw new MalformedFrameException("the first message asks for a session");
    } else if (frame instanceof Frame.Call call) {
      present.call(call, outbox);
    } else if (frame instanceof Frame.Request request) {
      present.request(request.stream(), request.n());
    } else if (frame instanceof Frame.Ping) {
      outbox.send(new Frame.Pong());
    } else {
      leaving = true;
      return sessions.end(present).doFinally(end -> outbox.end());
    }
    return Mono.empty();
  }

  private void hello(Frame.Hello hello) {
    if (hello.version() != Frame.VERSION) {
      throw new Refusal(
          POLICY_VIOLATION, "version " + Frame.VERSION + " is spoken here, not " + hello.version());
    }
    BridgeSession found =
        hello.session().equals(Session.NONE) ? null : sessions.find(hello.session(), token, export);
    boolean resumed = found != null;
    if (found == null) {
      found = sessions.create(token, maker);
      if (found == null) {
        throw new Refusal(POLICY_VIOLATION, "there are too many sessions");
      }
      export.counters().sessions.increment();
    } else {
      export.counters().resumed.increment();
    }
    session = found;
    outbox.send(new Frame.Welcome(
        found.id,
        resumed,
        export.name(),
        export.device().isolated(),
        (int) Math.min(Integer.MAX_VALUE, limits.grace().toMillis()),
        limits.messageBytes(),
        limits.calls()));
    found.connect(outbox, Set.copyOf(hello.streams()));
  }

  private void gone() {
    BridgeSession present = session;
    if (present != null && !leaving) {
      sessions.disconnected(present, outbox);
    }
    outbox.end();
  }
}
