package org.reactorvfio.linux;

import com.sun.jna.Pointer;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * Takes the counts of many eventfds with one system call, through io_uring: each is read as {@link EventFd#take} would, in the
 * order in which they were added, and all reads are over when the call returns. For one thread.
 */
public final class ReadBatch {
  static final int SYS_IO_URING_SETUP = 425;
  static final int SYS_IO_URING_ENTER = 426;

  // struct io_uring_params, its io_sqring_offsets and io_cqring_offsets.
  static final int PARAMS_SIZE = 120;
  static final int PARAMS_SQ_ENTRIES = 0;
  static final int PARAMS_CQ_ENTRIES = 4;
  static final int PARAMS_FEATURES = 20;
  static final int PARAMS_SQ_HEAD = 40;
  static final int PARAMS_SQ_TAIL = 44;
  static final int PARAMS_SQ_ARRAY = 64;
  static final int PARAMS_CQ_HEAD = 80;
  static final int PARAMS_CQ_TAIL = 84;
  static final int PARAMS_CQES = 100;

  /** IORING_FEAT_EXT_ARG, of Linux 5.11: stands for a kernel that has all that is needed here. */
  static final int FEATURE_OF_5_11 = 1 << 8;

  static final int SQE_SIZE = 64;
  static final int SQE_FD = 4;
  static final int SQE_ADDRESS = 16;
  static final int SQE_LENGTH = 24;
  static final int SQE_RW_FLAGS = 28;
  static final int SQE_USER_DATA = 32;
  static final int CQE_SIZE = 16;
  static final int CQE_RESULT = 8;
  static final int OFFSET_SQES = 0x10000000;
  static final int OP_READ = 22;
  static final int ENTER_GETEVENTS = 1;

  /** Of an empty eventfd, EAGAIN: io_uring would wait for it even if the descriptor is non-blocking. */
  static final int RWF_NOWAIT = 8;

  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

  private final int fd;
  private final int capacity;

  // Both rings, and the entries of the first: the kernel takes requests from the one and puts
  // answers
  // into the other.
  private final ByteBuffer rings;
  private final ByteBuffer requests;
  private final long ringsAddress;
  private final long requestsAddress;
  private final int sqHead;
  private final int sqTail;
  private final int cqHead;
  private final int cqTail;
  private final int cqMask;
  private final int cqes;

  // A request always reads into the word of its place in the ring.
  private final NativeBuffer words;
  private final @Nullable EventFd[] eventFds;
  private final long[] counts;
  private int size;

  private ReadBatch(
      int fd, int capacity, NativeBuffer params, long ringsAddress, long requestsAddress) {
    ByteBuffer told = params.bytes();
    this.fd = fd;
    this.capacity = capacity;
    this.ringsAddress = ringsAddress;
    this.requestsAddress = requestsAddress;
    this.rings = memory(ringsAddress, ringsSize(told));
    this.requests = memory(requestsAddress, capacity * SQE_SIZE);
    this.sqHead = told.getInt(PARAMS_SQ_HEAD);
    this.sqTail = told.getInt(PARAMS_SQ_TAIL);
    this.cqHead = told.getInt(PARAMS_CQ_HEAD);
    this.cqTail = told.getInt(PARAMS_CQ_TAIL);
    this.cqMask = told.getInt(PARAMS_CQ_ENTRIES) - 1;
    this.cqes = told.getInt(PARAMS_CQES);
    this.words = NativeBuffer.allocate(8 * capacity);
    this.eventFds = new EventFd[capacity];
    this.counts = new long[capacity];
    int array = told.getInt(PARAMS_SQ_ARRAY);
    for (int place = 0; place < capacity; place++) {
      rings.putInt(array + 4 * place, place);
      int request = place * SQE_SIZE;
      requests
          .put(request, (byte) OP_READ)
          .putLong(request + SQE_ADDRESS, words.address() + 8L * place)
          .putInt(request + SQE_LENGTH, 8)
          .putInt(request + SQE_RW_FLAGS, RWF_NOWAIT)
          .putLong(request + SQE_USER_DATA, place);
    }
  }

  private static ByteBuffer memory(long address, int size) {
    return new Pointer(address).getByteBuffer(0, size).order(ByteOrder.nativeOrder());
  }

  private static int ringsSize(ByteBuffer told) {
    return Math.max(
        told.getInt(PARAMS_SQ_ARRAY) + 4 * told.getInt(PARAMS_SQ_ENTRIES),
        told.getInt(PARAMS_CQES) + CQE_SIZE * told.getInt(PARAMS_CQ_ENTRIES));
  }

  /**
   * Creates a batch.
   *
   * @param capacity how many eventfds it takes, a power of two
   * @return the batch, to be closed; null where io_uring is not to be had: an old kernel, a container's or an administrator's rule
   */
  public static @Nullable ReadBatch create(int capacity) {
    NativeBuffer params = NativeBuffer.allocate(PARAMS_SIZE);
    int fd = Held.opened(
        (int) DirectCalls.syscall(SYS_IO_URING_SETUP, capacity, params.address(), 0, 0, 0, 0));
    Reference.reachabilityFence(params);
    if (fd < 0) {
      return null;
    }
    if ((params.bytes().getInt(PARAMS_FEATURES) & FEATURE_OF_5_11) == 0) {
      Held.close(fd);
      return null;
    }
    int ringsSize = ringsSize(params.bytes());
    long rings = mmap(fd, ringsSize, 0);
    long requests = rings < 0 ? rings : mmap(fd, capacity * SQE_SIZE, OFFSET_SQES);
    if (requests < 0) {
      if (rings >= 0) {
        LibC.munmap(rings, ringsSize);
      }
      Held.close(fd);
      return null;
    }
    return new ReadBatch(fd, capacity, params, rings, requests);
  }

  private static long mmap(int fd, int size, long offset) {
    return LibC.mmap(0, size, Syscalls.PROT_READ_WRITE, Syscalls.MAP_SHARED, fd, offset);
  }

  /** How many eventfds it takes. */
  public int capacity() {
    return capacity;
  }

  /** Adds an eventfd to be read. */
  public void add(EventFd eventFd) {
    int place = (tail() + size) & (capacity - 1);
    requests.putInt(place * SQE_SIZE + SQE_FD, eventFd.fd());
    eventFds[size++] = eventFd;
  }

  // Ours alone to write.
  private int tail() {
    return rings.getInt(sqTail);
  }

  /** Reads all that were added, and forgets them; {@link #count} tells what there was. */
  public void read() {
    int first = tail();
    int n = size;
    size = 0;
    int submitted = submit(first, n);
    // A read that does not block is over before the system call returns: this is for one that was
    // interrupted.
    int answered = answers(first, 0);
    while (answered < submitted) {
      long error = enter(0, submitted - answered);
      if (error < 0 && error != -Errno.EINTR) {
        // Reads are under way that nobody would count: not to be passed over.
        throw new IllegalStateException("io_uring_enter: " + Syscalls.describe((int) -error));
      }
      answered = answers(first, answered);
    }
    for (int i = 0; i < n; i++) {
      EventFd eventFd = eventFds[i];
      eventFds[i] = null;
      if (counts[i] < 0 || i >= submitted) {
        counts[i] = eventFd == null ? 0 : eventFd.take();
      }
    }
  }

  /** Hands the requests over. Returns how many the kernel has taken. */
  private int submit(int first, int n) {
    INT.setRelease(rings, sqTail, first + n);
    int submitted = 0;
    while (submitted < n) {
      long taken = enter(n - submitted, n - submitted);
      if (taken == -Errno.EINTR) {
        continue;
      }
      if (taken <= 0) {
        // It lacks memory: takes back what is still ours, so that it is not read later, unseen.
        submitted = (int) INT.getAcquire(rings, sqHead) - first;
        INT.setRelease(rings, sqTail, first + submitted);
        break;
      }
      submitted += (int) taken;
    }
    return submitted;
  }

  private long enter(int submit, int await) {
    return DirectCalls.syscall(SYS_IO_URING_ENTER, fd, submit, await, ENTER_GETEVENTS, 0, 0);
  }

  /** Takes the answers that there are. Returns how many there have been. */
  private int answers(int first, int before) {
    int head = rings.getInt(cqHead);
    int end = (int) INT.getAcquire(rings, cqTail);
    int answered = before;
    for (; head != end; head++, answered++) {
      int answer = cqes + CQE_SIZE * (head & cqMask);
      int place = (int) rings.getLong(answer);
      int result = rings.getInt(answer + CQE_RESULT);
      counts[(place - first) & (capacity - 1)] =
          result == 8 ? words.bytes().getLong(8 * place) : result == -Errno.EAGAIN ? 0 : -1;
    }
    INT.setRelease(rings, cqHead, head);
    return answered;
  }

  /** What the i-th of those that were read had: its count, 0 if there was nothing to take, or -errno. */
  public long count(int i) {
    return counts[i];
  }

  /** Closes the batch, which must not be used any more. */
  public void close() {
    LibC.munmap(ringsAddress, rings.capacity());
    LibC.munmap(requestsAddress, requests.capacity());
    Held.close(fd);
    Reference.reachabilityFence(words);
  }
}
