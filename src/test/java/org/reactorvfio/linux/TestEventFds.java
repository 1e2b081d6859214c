package org.reactorvfio.linux;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/** What tests want to know of eventfds and of the process's descriptors, without the library's help. */
public final class TestEventFds {
  private TestEventFds() {}

  /** Takes the counter of an eventfd given by number: the count, or 0. */
  public static long take(int fd) {
    NativeBuffer word = NativeBuffer.allocate(8);
    return LibC.read(fd, word.address(), 8) == 8 ? word.bytes().getLong(0) : 0;
  }

  /** Adds to eventfds as a device would that raised several interrupts at once. For one thread. */
  public static final class Adder {
    private final NativeBuffer word = NativeBuffer.allocate(8);

    /** Adds to the counter of an eventfd given by number. */
    public void add(int fd, long count) {
      word.bytes().putLong(0, count);
      if (LibC.write(fd, word.address(), 8) != 8) {
        throw new IllegalStateException("an eventfd that does not take " + count);
      }
    }

    /** Takes the counter of an eventfd given by number: the count, or 0. */
    public long take(int fd) {
      return LibC.read(fd, word.address(), 8) == 8 ? word.bytes().getLong(0) : 0;
    }
  }

  /** Tells an eventfd's counter without taking it. */
  public static long count(int fd) {
    return fdinfo(fd)
        .filter(line -> line.startsWith("eventfd-count:"))
        .mapToLong(line -> Long.parseUnsignedLong(line.substring(14).trim(), 16))
        .findFirst()
        .orElseThrow();
  }

  /** Tells which eventfd it is, whatever its number: no other has this while it is open somewhere (Linux 5.2). */
  public static long id(int fd) {
    return fdinfo(fd)
        .filter(line -> line.startsWith("eventfd-id:"))
        .mapToLong(line -> Long.parseLong(line.substring(11).trim()))
        .findFirst()
        .orElseThrow();
  }

  /** Tells whether an epoll instance of this process reports a descriptor when it is readable. */
  public static boolean watchedForInput(int fd) {
    return descriptors()
        .filter(path -> linkOf(path).equals("anon_inode:[eventpoll]"))
        .flatMap(path -> fdinfo(Integer.parseInt(path.getFileName().toString())))
        .filter(line -> line.matches("tfd:\\s+" + fd + "\\s.*"))
        .anyMatch(line -> (events(line) & 1) != 0);
  }

  /** Tells how many descriptors of a kind are open, such as {@code [eventfd]} or {@code [eventpoll]}. */
  public static long open(String kind) {
    return descriptors()
        .filter(path -> linkOf(path).equals("anon_inode:" + kind))
        .count();
  }

  private static int events(String line) {
    String[] words = line.split("\\s+");
    return Integer.parseUnsignedInt(words[3], 16);
  }

  private static Stream<Path> descriptors() {
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      return all.toList().stream();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  // A descriptor may be closed by another thread between listing and looking.
  private static String linkOf(Path path) {
    try {
      return Files.readSymbolicLink(path).toString();
    } catch (IOException e) {
      return "closed";
    }
  }

  private static Stream<String> fdinfo(int fd) {
    try {
      return Files.readAllLines(Path.of("/proc/self/fdinfo/" + fd)).stream();
    } catch (IOException e) {
      return Stream.empty();
    }
  }
}
