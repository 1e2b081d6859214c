package org.reactorvfio.bridge;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Supplier;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Sinks;

/**
 * The frames on their way to the other side, in order, from any thread. A frame is made when the connection takes it, so that one
 * that grows old in here says what is true then. Its length is bounded by who puts something in: a call has one answer, a stream at
 * most one element here.
 */
final class Outbox {
  private final Sinks.Many<Supplier<Frame>> sink =
      Sinks.many().unicast().onBackpressureBuffer(new ConcurrentLinkedQueue<>());

  /** Puts a frame in; after the end it is dropped. */
  void send(Frame frame) {
    send(() -> frame);
  }

  /** Puts in a frame that is made when the connection takes it. */
  synchronized void send(Supplier<Frame> frame) {
    sink.tryEmitNext(frame);
  }

  /** Ends the stream behind what is in here. */
  synchronized void end() {
    sink.tryEmitComplete();
  }

  /** The frames, for one subscriber. */
  Flux<Frame> frames() {
    return sink.asFlux().map(Supplier::get);
  }
}
