package org.reactorvfio.bridge;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.websocketx.BinaryWebSocketFrame;
import io.netty.handler.codec.http.websocketx.PongWebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.publisher.Sinks;

/**
 * The frames on their way to the other side, in order, from any thread. A frame is made when the connection takes it, so that one
 * that grows old in here says what is true then. Its length is bounded by who puts something in: a stream has at most one element
 * here, and who answers what it receives waits for {@link #room} first.
 */
final class Outbox {
  /** So many frames wait before nothing more is received that would have an answer. */
  static final int ROOM = 256;

  private final Sinks.Many<Supplier<WebSocketFrame>> sink =
      Sinks.many().unicast().onBackpressureBuffer(new ConcurrentLinkedQueue<>());
  private final Sinks.Empty<Void> ended = Sinks.empty();
  private final AtomicInteger waiting = new AtomicInteger();
  private final AtomicReference<@Nullable MonoSink<Void>> forRoom = new AtomicReference<>();

  /** Puts a frame in; after the end it is dropped. */
  void send(Frame frame) {
    send(() -> frame);
  }

  /** Puts in a frame that is made when the connection takes it. */
  void send(Supplier<Frame> frame) {
    put(() -> new BinaryWebSocketFrame(Unpooled.wrappedBuffer(FrameCodec.encode(frame.get()))));
  }

  /** Answers a ping of WebSocket's own. */
  void pong(byte[] content) {
    put(() -> new PongWebSocketFrame(Unpooled.wrappedBuffer(content)));
  }

  private synchronized void put(Supplier<WebSocketFrame> frame) {
    waiting.incrementAndGet();
    sink.tryEmitNext(frame);
  }

  /** Ends the stream behind what is in here. */
  void end() {
    synchronized (this) {
      sink.tryEmitComplete();
    }
    ended.tryEmitEmpty();
  }

  /** Completes when {@link #end} was called: the rest may still be in here. */
  Mono<Void> onEnd() {
    return ended.asMono();
  }

  /** Whether an answer may be put in. */
  boolean hasRoom() {
    return waiting.get() < ROOM;
  }

  /** Completes when an answer may be put in. For one caller at a time. */
  Mono<Void> room() {
    return Mono.create(caller -> {
      forRoom.set(caller);
      tellRoom();
    });
  }

  private void tellRoom() {
    if (hasRoom()) {
      MonoSink<Void> caller = forRoom.getAndSet(null);
      if (caller != null) {
        caller.success();
      }
    }
  }

  /** The frames, for one subscriber. */
  Flux<WebSocketFrame> frames() {
    return sink.asFlux().map(frame -> {
      waiting.decrementAndGet();
      tellRoom();
      return frame.get();
    });
  }
}
