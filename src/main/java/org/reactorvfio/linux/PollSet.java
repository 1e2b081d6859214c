package org.reactorvfio.linux;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;

/**
 * An epoll instance with its buffer of events. Changing the set is for any thread; waiting and looking at the events is for
 * one.
 */
public final class PollSet {
  private static final int EPOLL_CLOEXEC = 0x80000;
  private static final int EPOLL_CTL_ADD = 1;
  private static final int EPOLL_CTL_DEL = 2;
  private static final int EPOLL_CTL_MOD = 3;
  private static final int EPOLLIN = 1;

  // struct epoll_event is packed on x86-64 only.
  static final boolean PACKED = "amd64".equals(System.getProperty("os.arch"));
  static final int EVENT_SIZE = PACKED ? 12 : 16;
  static final int DATA_OFFSET = PACKED ? 4 : 8;

  private static final ThreadLocal<NativeBuffer> SCRATCH =
      ThreadLocal.withInitial(() -> NativeBuffer.allocate(EVENT_SIZE));

  private final int fd;
  private final int capacity;
  private final NativeBuffer events;
  private final ByteBuffer eventBytes;

  private PollSet(int fd, int capacity) {
    this.fd = fd;
    this.capacity = capacity;
    this.events = NativeBuffer.allocate(capacity * EVENT_SIZE);
    this.eventBytes = events.bytes();
  }

  /**
   * Creates an empty set.
   *
   * @param capacity how many events one wait may bring
   */
  public static PollSet create(int capacity) throws LinuxException {
    int fd = Held.opened(Syscalls.result(LibC.epoll_create1(EPOLL_CLOEXEC)));
    if (fd < 0) {
      throw new LinuxException("epoll_create1", -fd);
    }
    return new PollSet(fd, capacity);
  }

  /** Adds a descriptor, watched for input or not; {@code key} comes back with its events. */
  public void add(int watched, boolean input, long key) throws LinuxException {
    control(EPOLL_CTL_ADD, watched, input, key);
  }

  /** Changes whether a descriptor is watched for input. */
  public void modify(int watched, boolean input, long key) throws LinuxException {
    control(EPOLL_CTL_MOD, watched, input, key);
  }

  /** Removes a descriptor; must come before its close, since the number may be used anew at once. */
  public void remove(int watched) throws LinuxException {
    control(EPOLL_CTL_DEL, watched, false, 0);
  }

  private void control(int operation, int watched, boolean input, long key) throws LinuxException {
    // A small buffer of each thread's own, since any thread may change the set.
    NativeBuffer event = SCRATCH.get();
    event.bytes().putInt(0, input ? EPOLLIN : 0).putLong(DATA_OFFSET, key);
    int rc = Syscalls.result(LibC.epoll_ctl(fd, operation, watched, event.address()));
    Reference.reachabilityFence(event);
    if (rc < 0) {
      throw new LinuxException("epoll_ctl", -rc);
    }
  }

  /**
   * Waits.
   *
   * @param timeoutMillis how long, -1 for ever, 0 not at all
   * @return the number of events, 0 also after an interrupting signal, or -errno
   */
  public int await(int timeoutMillis) {
    int n = Syscalls.epollWait(fd, events.address(), capacity, timeoutMillis);
    return n == -Errno.EINTR ? 0 : n;
  }

  /** The key of the i-th event of the last wait. */
  public long key(int i) {
    return eventBytes.getLong(i * EVENT_SIZE + DATA_OFFSET);
  }

  /** Closes the set, which does not block. */
  public void close() {
    Held.close(fd);
  }
}
