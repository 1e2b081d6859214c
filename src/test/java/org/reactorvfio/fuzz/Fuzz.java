package org.reactorvfio.fuzz;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.reactorvfio.VfioException;

/**
 * Gives a parser what no honest device, kernel or peer says: images as they ought to be, changed here and there. Whatever it is
 * given, a parser returns a value or fails with a {@link VfioException}, and takes little time and memory for it.
 *
 * <p>In the test suite the changes are the same every time, and what is kept in {@code src/test/resources/fuzz/<name>} is tried
 * besides. With {@code -Dfuzz.seconds=60} they are new ones for so long, and changes that reach code of the parser's package that none
 * before them has reached are changed further; that needs the tests' coverage agent. An image that is not survived is made as short
 * as it can be, and put into {@code target/fuzz/<name>}.
 */
public final class Fuzz {
  /** CPU time and memory for one image, at most. */
  private static final Duration TIME = Duration.ofSeconds(2);

  private static final long MEMORY = 64 << 20;

  /** Time by the clock, which on a busy machine may be much more. */
  private static final Duration HANG = Duration.ofSeconds(30);

  private static final int SHORTENINGS = 2000;

  private final String name;
  private final List<byte[]> images = new ArrayList<>();
  private final List<byte[]> words = new ArrayList<>();
  private final List<Class<? extends Throwable>> refusals =
      new ArrayList<>(List.of(VfioException.class));
  private final List<Class<?>> guides = new ArrayList<>();
  private int rounds = 2000;
  private int largest = 8192;

  private volatile byte[] current = {};
  private volatile long begun;
  private long tried;
  private long refused;

  /** What is fed. */
  public interface Parser {
    /** Takes an image apart, all of it. */
    void parse(byte[] image) throws Throwable;
  }

  /** Looks at what was read: as a debugger or a log does. */
  public static void look(Object... values) {
    for (Object value : values) {
      if (String.valueOf(value).isEmpty()) {
        throw new AssertionError("nothing is shown of a " + value.getClass());
      }
    }
  }

  private Fuzz(String name) {
    this.name = name;
  }

  /** Begins with the name of what is fed, which is that of a folder, too. */
  public static Fuzz of(String name) {
    return new Fuzz(name);
  }

  /** Adds an image as it ought to be: one that the parser takes. */
  public Fuzz image(byte[] image) {
    images.add(image.clone());
    return this;
  }

  /** Adds parts that an image may have. */
  public Fuzz words(String... texts) {
    for (String text : texts) {
      words.add(text.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    }
    return this;
  }

  /** Adds a failure that says that an image is refused, where that is what the parser promises. */
  public Fuzz refusedBy(Class<? extends Throwable> type) {
    refusals.add(type);
    return this;
  }

  /** Says that the parser leaves out what it cannot read, and refuses nothing. */
  public Fuzz refusesNothing() {
    refusals.clear();
    return this;
  }

  /** Adds classes of the parser's, whose coverage leads on. */
  public Fuzz guidedBy(Class<?>... classes) {
    guides.addAll(List.of(classes));
    return this;
  }

  /** How many images the test suite tries. */
  public Fuzz rounds(int count) {
    rounds = count;
    return this;
  }

  /** How large images become, in bytes. */
  public Fuzz largest(int size) {
    largest = size;
    return this;
  }

  /** Feeds the parser. */
  public void run(Parser parser) {
    Throwable[] failure = new Throwable[1];
    Thread feeder = new Thread(
        () -> {
          try {
            feed(parser);
          } catch (Throwable e) {
            failure[0] = e;
          }
        },
        "fuzz " + name);
    feeder.setDaemon(true);
    begun = System.nanoTime();
    feeder.start();
    try {
      while (feeder.isAlive()) {
        feeder.join(1000);
        if (feeder.isAlive() && System.nanoTime() - begun > HANG.toNanos()) {
          AssertionError hang = new AssertionError(told("does not end", current));
          hang.setStackTrace(feeder.getStackTrace());
          throw hang;
        }
      }
    } catch (InterruptedException e) {
      throw new AssertionError("interrupted while " + name + " was being fed", e);
    }
    if (failure[0] instanceof Error e) {
      throw e;
    }
    if (failure[0] != null) {
      throw new AssertionError(failure[0]);
    }
  }

  private void feed(Parser parser) {
    for (byte[] image : images) {
      try {
        parser.parse(image.clone());
      } catch (Throwable e) {
        throw new AssertionError("an image of " + name + " that ought to be taken is not", e);
      }
    }
    if (images.isEmpty()) {
      throw new AssertionError("there is no image of " + name);
    }
    List<byte[]> kept = kept();
    kept.forEach(image -> require(parser, image));
    List<byte[]> corpus = new ArrayList<>(images);
    corpus.addAll(kept);
    int seconds = Integer.getInteger("fuzz.seconds", 0);
    if (seconds == 0) {
      Mutator mutator = new Mutator(new Random(name.hashCode()), words, largest);
      for (int i = 0; i < rounds; i++) {
        require(parser, mutator.change(corpus));
      }
      if (refused == 0 && !refusals.isEmpty()) {
        throw new AssertionError(
            refused + " of " + tried + " changed images of " + name + " are refused");
      }
      return;
    }
    long seed = Long.getLong("fuzz.seed", System.nanoTime());
    Mutator mutator = new Mutator(new Random(seed), words, largest);
    Coverage coverage = new Coverage(guides);
    coverage.grew();
    long end = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
    while (System.nanoTime() < end) {
      byte[] image = mutator.change(corpus);
      require(parser, image);
      if (coverage.grew()) {
        corpus.add(image);
      }
    }
    System.out.printf(
        "fuzz %s: %d images, %d refused, %d lead on, %d probes, seed %d%n",
        name, tried, refused, corpus.size() - images.size(), coverage.reached(), seed);
  }

  private void require(Parser parser, byte[] image) {
    Throwable failure = failure(parser, image);
    if (failure != null) {
      byte[] shortest = shorten(parser, image, failure.getClass());
      throw new AssertionError(told("fails with " + failure.getClass(), shortest), failure);
    }
  }

  /** What is wrong with how the parser takes an image; null if nothing is. */
  private Throwable failure(Parser parser, byte[] image) {
    ThreadMXBean thread = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    current = image;
    begun = System.nanoTime();
    tried++;
    long time = thread.getCurrentThreadCpuTime();
    long memory = thread.getCurrentThreadAllocatedBytes();
    try {
      parser.parse(image.clone());
    } catch (Throwable e) {
      if (refusals.stream().noneMatch(type -> type.isInstance(e))) {
        return e;
      }
      refused++;
    }
    memory = thread.getCurrentThreadAllocatedBytes() - memory;
    time = thread.getCurrentThreadCpuTime() - time;
    return memory > MEMORY || time > TIME.toNanos()
        ? new Costly(memory + " bytes and " + time / 1_000_000 + " ms")
        : null;
  }

  /** More time or memory than an image may take. */
  private static final class Costly extends Exception {
    private static final long serialVersionUID = 1L;

    Costly(String cost) {
      super(cost);
    }
  }

  private byte[] shorten(Parser parser, byte[] image, Class<?> kind) {
    byte[] best = image;
    int left = SHORTENINGS;
    for (int size = Math.max(1, image.length / 2); size > 0; size /= 2) {
      for (int at = 0; at < best.length && left > 0; left--) {
        byte[] shorter = Mutator.without(best, at, Math.min(size, best.length - at));
        Throwable failure = failure(parser, shorter);
        if (failure != null && failure.getClass() == kind) {
          best = shorter;
        } else {
          at += size;
        }
      }
    }
    return best;
  }

  /** Says what happened, and where the image is kept. */
  private String told(String what, byte[] image) {
    Path file = Path.of("target", "fuzz", name, Integer.toHexString(Arrays.hashCode(image)));
    try {
      Files.createDirectories(file.getParent());
      Files.write(file, image);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    String hex = HexFormat.of().formatHex(image);
    return name + " " + what + " on an image of " + image.length + " bytes, which is in " + file
        + "; put it into src/test/resources/fuzz/" + name + ": "
        + (hex.length() > 1000 ? hex.substring(0, 1000) + "..." : hex);
  }

  private List<byte[]> kept() {
    URL folder = Fuzz.class.getResource("/fuzz/" + name);
    if (folder == null) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(Path.of(folder.toURI()))) {
      List<byte[]> all = new ArrayList<>();
      for (Path file : (Iterable<Path>) files.sorted()::iterator) {
        all.add(Files.readAllBytes(file));
      }
      return all;
    } catch (IOException | URISyntaxException e) {
      throw new AssertionError("the images of " + name + " cannot be read", e);
    }
  }
}
