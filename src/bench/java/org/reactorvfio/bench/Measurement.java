package org.reactorvfio.bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.FutureTask;
import java.util.stream.LongStream;

/**
 * What one reader did in one round.
 *
 * @param samples the sorted durations
 * @param bytesPerEvent what an event allocated; not a number for C
 */
record Measurement(Samples samples, double bytesPerEvent) {
  /**
   * How many events go before those that count. By then each vector has had its first event, and a Java loop that
   * began in the interpreter has been replaced by a compiled one.
   */
  private static final int WARM_UP_EVENTS = 3_000;

  private static final long PAUSE_NANOS = 50_000;

  /** What is measured. */
  enum Kind {
    /** From the signal to the callback, one signal at a time. */
    LATENCY("latency"),
    /** All vectors always ready. */
    SATURATED("saturated"),
    /** One vector, always ready, with as many subscribers as the row has vectors otherwise. */
    FAN_OUT("fan-out"),
    /** INTx, always ready: an event is handled and the line unmasked. */
    CYCLE("intx");

    /** The C twin's word for it. */
    final String mode;

    Kind(String mode) {
      this.mode = mode;
    }

    /** How many vectors there are in a row. */
    int vectors(int number) {
      return this == FAN_OUT ? 1 : number;
    }
  }

  static Measurement java(Kind kind, Reader.Factory factory, int vectors, int count)
      throws Exception {
    try (Reader reader = factory.open(vectors)) {
      return kind == Kind.LATENCY
          ? latency(reader, vectors, count)
          : saturated(reader, kind.vectors(vectors), vectors, count);
    }
  }

  private static Measurement latency(Reader reader, int vectors, int count) throws Exception {
    Handler.Latency handler = new Handler.Latency(WARM_UP_EVENTS, count);
    reader.start(handler::onEvent);
    Samples samples = new Samples(count);
    // A thread of its own, since the writer pins the thread it runs on.
    FutureTask<Boolean> writer =
        new FutureTask<>(() -> ping(reader, vectors, handler, new Samples(WARM_UP_EVENTS))
            && ping(reader, vectors, handler, samples));
    new Thread(writer, "bench-writer").start();
    if (!writer.get()) {
      throw new IllegalStateException("no answer within 5 seconds");
    }
    handler.await();
    samples.sort();
    return new Measurement(samples, handler.bytesPerEvent());
  }

  private static boolean ping(
      Reader reader, int vectors, Handler.Latency handler, Samples samples) {
    return NativeWriter.ping(
            reader.eventfds(),
            vectors,
            handler.answer.address(),
            samples.count(),
            PAUSE_NANOS,
            samples.address())
        == 0;
  }

  private static Measurement saturated(Reader reader, int vectors, int callbacks, int count)
      throws Exception {
    Samples samples = new Samples(count);
    int warmUp = WARM_UP_EVENTS / callbacks + 1;
    Handler.Sweeps handler =
        new Handler.Sweeps(reader.eventfds(), vectors, callbacks, warmUp, samples);
    reader.start(handler::onEvent);
    NativeWriter.fill(reader.eventfds(), vectors);
    handler.await();
    samples.sort();
    return new Measurement(samples, handler.bytesPerEvent());
  }

  /** Runs a C twin: that of the bridge if what it waits for is a socket, tcp or unix. */
  static Measurement c(String mode, String wait, int vectors, int count)
      throws IOException, InterruptedException {
    boolean bridge = wait.equals("tcp") || wait.equals("unix");
    Path output = Files.createTempFile("twin", ".txt");
    try {
      Process twin = new ProcessBuilder(
              (bridge ? Paths.bridgeTwin() : Paths.twin()).toString(),
              mode,
              wait,
              String.valueOf(vectors),
              String.valueOf(count),
              String.valueOf(PAUSE_NANOS))
          .redirectOutput(output.toFile())
          .redirectError(ProcessBuilder.Redirect.INHERIT)
          .start();
      if (twin.waitFor() != 0) {
        throw new IOException("the C twin failed");
      }
      LongStream values =
          Files.readAllLines(output, StandardCharsets.US_ASCII).stream().mapToLong(Long::parseLong);
      return new Measurement(Samples.of(values), Double.NaN);
    } finally {
      Files.delete(output);
    }
  }
}
