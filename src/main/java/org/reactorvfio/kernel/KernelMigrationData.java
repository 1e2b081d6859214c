package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.MigrationData;
import reactor.core.publisher.Mono;

/**
 * A data_fd. Its calls have a turn of their own: a device that is slow to deliver can be led to another state meanwhile, or be
 * closed. It never waits in the kernel without looking up from time to time whether the stream was closed.
 */
final class KernelMigrationData implements MigrationData {
  private static final int LOOK_UP_MILLIS = 50;

  /** The largest part of a buffer on the heap that is copied at a time. */
  private static final int SCRATCH = 256 * 1024;

  private final String name;
  private final Fd data;
  private final boolean precopyFlags;
  private final Consumer<KernelMigrationData> onClosed;
  private final SerialCalls calls = new SerialCalls();
  private volatile boolean closed;

  /** Belongs to the calls. */
  private @Nullable NativeBuffer scratch;

  KernelMigrationData(
      String name, Fd data, boolean precopyFlags, Consumer<KernelMigrationData> onClosed) {
    this.name = name;
    this.data = data;
    this.precopyFlags = precopyFlags;
    this.onClosed = onClosed;
  }

  @Override
  public Mono<Integer> read(ByteBuffer destination) {
    return call("read of migration data", () -> {
      if (!destination.hasRemaining()) {
        throw new IllegalArgumentException("there is no room to read to");
      }
      return transfer(destination, false);
    });
  }

  @Override
  public Mono<Integer> write(ByteBuffer source) {
    return call("write of migration data", () -> {
      int written = 0;
      int count = 1;
      while (source.hasRemaining() && count > 0) {
        count = transfer(source, true);
        written += count;
      }
      return written;
    });
  }

  private int transfer(ByteBuffer buffer, boolean write) throws LinuxException {
    int n = buffer.isDirect()
        ? access(NativeBuffer.addressOf(buffer) + buffer.position(), buffer.remaining(), write)
        : transferHeap(buffer, write);
    Reference.reachabilityFence(buffer);
    buffer.position(buffer.position() + n);
    return n;
  }

  private int transferHeap(ByteBuffer buffer, boolean write) throws LinuxException {
    int count = Math.min(SCRATCH, buffer.remaining());
    NativeBuffer copy = scratch;
    if (copy == null || copy.size() < count) {
      copy = NativeBuffer.allocate(count);
      scratch = copy;
    }
    if (write) {
      copy.bytes().put(0, buffer, buffer.position(), count);
    }
    int n = access(copy.address(), count, write);
    if (!write) {
      buffer.put(buffer.position(), copy.bytes(), 0, n);
    }
    return n;
  }

  private int access(long address, int count, boolean write) throws LinuxException {
    String call = write ? "write of migration data" : "read of migration data";
    while (true) {
      long n = write
          ? Syscalls.write(data.number(), address, count)
          : Syscalls.read(data.number(), address, count);
      if (n >= 0) {
        return (int) n;
      }
      if (n == -Errno.ENOMSG) {
        return 0;
      }
      if (n != -Errno.EAGAIN) {
        throw failed(new LinuxException(call, (int) -n), write);
      }
      int ready =
          Syscalls.poll(data.number(), write ? Syscalls.POLLOUT : Syscalls.POLLIN, LOOK_UP_MILLIS);
      if (ready < 0) {
        throw new LinuxException("poll", -ready);
      }
      requireOpen(call);
    }
  }

  private VfioException failed(LinuxException e, boolean write) {
    return switch (e.errno()) {
      case Errno.ENODEV -> ended(e);
      case Errno.EBADF ->
        new NotSupportedException(
            e.call(),
            name,
            e.errno(),
            "the stream goes the other way",
            "read in STOP_COPY and the pre-copy states, write in RESUMING",
            e);
      default ->
        new MigrationDataException(
            e.call(),
            name,
            e.errno(),
            write
                ? "the device refuses the data: " + Syscalls.describe(e.errno())
                : "the device cannot deliver its state: " + Syscalls.describe(e.errno()),
            write
                ? "write what a device of the same kind and version has saved, from its beginning"
                : "lead the device back to RUNNING",
            e);
    };
  }

  private MigrationEndedException ended(LinuxException e) {
    return new MigrationEndedException(
        e.call(),
        name,
        e.errno(),
        "the device was led out of the state that the stream belongs to, or was reset",
        "begin again",
        e);
  }

  @Override
  public Mono<PrecopyInfo> precopyInfo() {
    return call("VFIO_MIG_GET_PRECOPY_INFO", () -> {
      NativeBuffer answer = NativeBuffer.allocate(PRECOPY_INFO__SIZE);
      ByteBuffer bytes = answer.bytes().putInt(PRECOPY_INFO__ARGSZ, PRECOPY_INFO__SIZE);
      try {
        data.ioctl("VFIO_MIG_GET_PRECOPY_INFO", VFIO_MIG_GET_PRECOPY_INFO, answer);
      } catch (LinuxException e) {
        throw withoutInfo(e);
      }
      // Without the opt-in, what stands in the flags is no answer.
      return new PrecopyInfo(
          bytes.getLong(PRECOPY_INFO__INITIAL_BYTES),
          bytes.getLong(PRECOPY_INFO__DIRTY_BYTES),
          precopyFlags && (bytes.getInt(PRECOPY_INFO__FLAGS) & VFIO_PRECOPY_INFO_REINIT) != 0);
    });
  }

  private VfioException withoutInfo(LinuxException e) {
    return switch (e.errno()) {
      case Errno.ENODEV -> ended(e);
      case Errno.EINVAL, Errno.ENOTTY ->
        new NotSupportedException(
            e.call(),
            name,
            e.errno(),
            "the device is not in a pre-copy state",
            "ask in PRE_COPY and PRE_COPY_P2P only",
            e);
      default -> KernelErrors.of(name, e);
    };
  }

  @Override
  public Mono<Void> close() {
    return Mono.defer(() -> {
      closed = true;
      return calls.run(() -> {
        data.close();
        scratch = null;
        onClosed.accept(this);
        return null;
      });
    });
  }

  private void requireOpen(String operation) {
    if (closed) {
      throw new MigrationEndedException(operation, name, 0, "the stream was closed", "begin again");
    }
  }

  private <T> Mono<T> call(String operation, Callable<T> call) {
    return calls.run(() -> {
      requireOpen(operation);
      try {
        return call.call();
      } catch (LinuxException e) {
        throw KernelErrors.of(name, e);
      }
    });
  }
}
