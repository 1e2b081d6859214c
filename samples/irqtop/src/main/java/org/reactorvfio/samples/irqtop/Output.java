package org.reactorvfio.samples.irqtop;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** Where results go. Unlike a PrintStream it tells when nobody takes them any more. */
final class Output {
  private final BufferedOutputStream stream;

  Output(OutputStream stream) {
    this.stream = new BufferedOutputStream(stream, 64 * 1024);
  }

  /** The reader has gone, as {@code head} does: no reason to complain. */
  static final class Gone extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Gone(IOException cause) {
      super(cause);
    }
  }

  void line(String line) {
    print(line + "\n");
  }

  void print(String text) {
    try {
      stream.write(text.getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw failure(e);
    }
  }

  /** Sends what was printed. */
  void flush() {
    try {
      stream.flush();
    } catch (IOException e) {
      throw failure(e);
    }
  }

  private static RuntimeException failure(IOException e) {
    // All that Java tells of EPIPE is the C library's text, which is that of the C locale.
    return String.valueOf(e.getMessage()).contains("Broken pipe")
        ? new Gone(e)
        : new UncheckedIOException("the output cannot be written: " + e.getMessage(), e);
  }
}
