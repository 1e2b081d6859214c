package org.reactorvfio.contract;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;

/** An open device, with eventfds to give it, whose answers to SET_IRQS are compared with the kernel's. */
public final class IrqProbe implements AutoCloseable {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final int COMMAND = 4;
  private static final int NO_DESCRIPTOR = 1_000_000;

  private final VfioOperations device;
  private final List<EventFd> eventfds = new ArrayList<>();
  private final int file = Syscalls.open("/dev/null", Syscalls.O_RDWR);

  IrqProbe(VfioOperations device) {
    this.device = device;
  }

  /** A new eventfd's number. */
  int eventfd() {
    try {
      EventFd created = EventFd.create();
      eventfds.add(created);
      return created.fd();
    } catch (LinuxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** New eventfds' numbers. */
  int[] eventfds(int count) {
    int[] fds = new int[count];
    for (int i = 0; i < count; i++) {
      fds[i] = eventfd();
    }
    return fds;
  }

  /** A number that no descriptor has: EBADF. */
  int closed() {
    return NO_DESCRIPTOR;
  }

  /** A descriptor that is not an eventfd: EINVAL. */
  int file() {
    return file;
  }

  IrqInfo info(int index) {
    IrqInfo info = device.irqInfo(index).block(LIMIT);
    assertThat(info).isNotNull();
    return info;
  }

  boolean resettable() {
    return Boolean.TRUE.equals(device.deviceInfo().map(i -> i.resettable()).block(LIMIT));
  }

  void reset() {
    device.reset().block(LIMIT);
  }

  /** The device answers a request with this number. */
  IrqProbe answers(int result, IrqSet request) {
    try {
      assertThat(device.setIrqs(request).block(LIMIT)).as("%s", request).isEqualTo(result);
    } catch (VfioException e) {
      fail(request + ": " + result + " expected, but " + e.getMessage(), e);
    }
    return this;
  }

  /** The device accepts a request. */
  IrqProbe accepts(IrqSet request) {
    return answers(0, request);
  }

  /** The device refuses a request with this error number. */
  IrqProbe refuses(int errno, IrqSet request) {
    try {
      Integer result = device.setIrqs(request).block(LIMIT);
      return fail(request + ": errno " + errno + " expected, but it returned " + result);
    } catch (VfioException e) {
      assertThat(e.errno()).as("errno of %s", request).isEqualTo(errno);
      return this;
    }
  }

  /** An eventfd has been signalled so often since the last look. */
  IrqProbe counted(long count, int eventfd) {
    assertThat(TestEventFds.take(eventfd)).as("count of eventfd %d", eventfd).isEqualTo(count);
    return this;
  }

  /** Signals an eventfd, as the library does to unmask. */
  void signal(int eventfd) {
    assertThat(EventFd.signal(eventfd)).isZero();
  }

  /** Closes the test's own reference to an eventfd; the device's stays. */
  void close(int eventfd) {
    eventfds.removeIf(e -> {
      if (e.fd() == eventfd) {
        e.close();
        return true;
      }
      return false;
    });
  }

  /** Sets or clears bits of the command register. */
  void command(int clear, int set) {
    ByteBuffer bytes = ByteBuffer.allocate(2).order(ByteOrder.LITTLE_ENDIAN);
    device.read(Regions.CONFIG, COMMAND, bytes).block(LIMIT);
    bytes.putShort(0, (short) (bytes.getShort(0) & ~clear | set)).clear();
    device.write(Regions.CONFIG, COMMAND, bytes).block(LIMIT);
  }

  @Override
  public void close() {
    device.close().block(LIMIT);
    eventfds.forEach(EventFd::close);
    Syscalls.close(file);
  }
}
