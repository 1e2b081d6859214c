package org.reactorvfio.samples.irqtop;

import com.sun.jna.Native;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/** The terminal that the program was started in: a screen of its own until it is restored, which happens in every ending. */
final class Terminal {
  private static final long TIOCGWINSZ = 0x5413;
  private static final String ENTER = "\u001b[?1049h\u001b[?25l";
  private static final String LEAVE = "\u001b[?25h\u001b[?1049l";

  private final Output output;
  private final Sinks.Empty<Void> quit = Sinks.empty();
  private final Thread hook = new Thread(this::restore, "terminal-restore");
  private String settings = "";
  private boolean entered;

  /** Rows and columns. */
  record Size(int rows, int columns) {}

  private static final class LibC {
    static {
      Native.register(LibC.class, "c");
    }

    static native int isatty(int fd);

    static native int ioctl(int fd, long request, byte[] size);
  }

  Terminal(Output output) {
    this.output = output;
  }

  /** Whether a descriptor of this process, such as 1 for standard output, is a terminal. */
  static boolean is(int fd) {
    return LibC.isatty(fd) == 1;
  }

  /** The window's size now. */
  static Size size() {
    byte[] winsize = new byte[8];
    if (LibC.ioctl(1, TIOCGWINSZ, winsize) == 0) {
      ByteBuffer numbers = ByteBuffer.wrap(winsize).order(ByteOrder.nativeOrder());
      int rows = numbers.getShort(0);
      int columns = numbers.getShort(2);
      if (rows > 0 && columns > 0) {
        return new Size(rows, columns);
      }
    }
    return new Size(24, 80);
  }

  /** Takes the screen, and the keys if the input is a terminal too. */
  void enter() {
    Runtime.getRuntime().addShutdownHook(hook);
    if (is(0)) {
      settings = stty("-g").strip();
      // Signals such as ctrl-C stay the terminal's business.
      stty("-icanon", "-echo", "min", "1");
      Thread keys = new Thread(this::readKeys, "terminal-keys");
      keys.setDaemon(true);
      keys.start();
    }
    synchronized (this) {
      entered = true;
      output.print(ENTER);
      output.flush();
    }
  }

  /** Ends when q is typed. */
  Mono<Void> quit() {
    return quit.asMono();
  }

  private void readKeys() {
    InputStream in = System.in;
    try {
      for (int key = in.read(); key >= 0; key = in.read()) {
        if (key == 'q' || key == 'Q') {
          quit.tryEmitEmpty();
        }
      }
    } catch (IOException e) {
      // No keys, then.
    }
  }

  /** Shows lines, as many as there is room for, from the top. */
  synchronized void show(List<String> lines) {
    if (!entered) {
      return;
    }
    StringBuilder screen = new StringBuilder("\u001b[H");
    for (int i = 0; i < lines.size(); i++) {
      screen.append(i == 0 ? "" : "\r\n").append(lines.get(i)).append("\u001b[K");
    }
    output.print(screen.append("\u001b[J").toString());
    output.flush();
  }

  /** Gives the screen back. Doing so twice does nothing. */
  synchronized void restore() {
    if (!entered) {
      return;
    }
    entered = false;
    if (!settings.isEmpty()) {
      stty(settings);
    }
    try {
      output.print(LEAVE);
      output.flush();
    } catch (RuntimeException e) {
      // The terminal has gone.
    }
    if (Thread.currentThread() != hook) {
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // It is about to run, and will find nothing to do.
      }
    }
  }

  private static String stty(String... arguments) {
    List<String> command = new ArrayList<>(List.of("stty"));
    command.addAll(List.of(arguments));
    try {
      Process process = new ProcessBuilder(command)
          .redirectInput(new File("/dev/tty"))
          .redirectError(ProcessBuilder.Redirect.DISCARD)
          .start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
      process.waitFor();
      return said;
    } catch (IOException e) {
      return "";
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return "";
    }
  }
}
