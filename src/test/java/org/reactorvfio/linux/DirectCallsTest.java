package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class DirectCallsTest {
  private static final int SYS_MMAP = 9;
  private static final int PAGE = 4096;

  @Test
  void areThereOnTheMachineWhoseInstructionsTheyAre() {
    assertThat(DirectCalls.AVAILABLE).isEqualTo("amd64".equals(System.getProperty("os.arch")));
  }

  @Test
  void passAllSixArguments() {
    assumeThat(DirectCalls.AVAILABLE).isTrue();
    int file = Syscalls.memfd("test", 3 * PAGE);
    NativeBuffer word = NativeBuffer.allocate(8);
    word.bytes().putLong(0, 0x1122_3344_5566_7788L);
    assertThat(DirectCalls.pwrite(file, word.address(), 8, 2 * PAGE + 16)).isEqualTo(8);

    long address = DirectCalls.syscall(
        SYS_MMAP, 0, PAGE, Syscalls.PROT_READ, Syscalls.MAP_SHARED, file, 2 * PAGE);

    assertThat(address).isPositive();
    // The kernel copies from there: the mapping has its length, its protection and its place in the
    // file.
    assertThat(DirectCalls.pwrite(file, address + 16, 8, 0)).isEqualTo(8);
    assertThat(DirectCalls.pread(file, word.address(), 8, 0)).isEqualTo(8);
    assertThat(word.bytes().getLong(0)).isEqualTo(0x1122_3344_5566_7788L);
    assertThat(Syscalls.munmap(address, PAGE)).isZero();
    Syscalls.close(file);
  }

  @Test
  void returnTheErrorNumber() {
    long nowhere = 16;
    assertThat(DirectCalls.read(-1, nowhere, 8)).isEqualTo(-Errno.EBADF);
    assertThat(DirectCalls.write(-1, nowhere, 8)).isEqualTo(-Errno.EBADF);
    assertThat(DirectCalls.pread(-1, nowhere, 8, 0)).isEqualTo(-Errno.EBADF);
    assertThat(DirectCalls.pwrite(-1, nowhere, 8, 0)).isEqualTo(-Errno.EBADF);
    assertThat(DirectCalls.ioctl(-1, 0, 0)).isEqualTo(-Errno.EBADF);
    assertThat(DirectCalls.epollWait(-1, nowhere, 1, 0)).isEqualTo(-Errno.EBADF);
  }

  @Test
  void areTheSameInterpretedAndCompiled() throws LinuxException {
    EventFd eventFd = EventFd.create();
    NativeBuffer word = NativeBuffer.allocate(8);
    for (int i = 1; i <= 30_000; i++) {
      word.bytes().putLong(0, i);
      assertThat(DirectCalls.write(eventFd.fd(), word.address(), 8)).isEqualTo(8);
      word.bytes().putLong(0, 0);
      assertThat(DirectCalls.read(eventFd.fd(), word.address(), 8)).isEqualTo(8);
      assertThat(word.bytes().getLong(0)).isEqualTo(i);
      assertThat(DirectCalls.read(eventFd.fd(), word.address(), 8)).isEqualTo(-Errno.EAGAIN);
    }
    eventFd.close();
  }

  @Test
  void anEmptyEventfdIsNoFailure() throws LinuxException {
    EventFd eventFd = EventFd.create();
    assertThat(eventFd.take()).isZero();
    assertThat(eventFd.signal()).isZero();
    assertThat(eventFd.take()).isEqualTo(1);
    eventFd.close();
    assertThat(eventFd.take()).isEqualTo(-Errno.EBADF);
  }

  /** A thread that waits in the kernel must not keep the JVM from stopping all threads. */
  @Test
  void letTheGarbageCollectorRunWhileTheyWait() throws Exception {
    EventFd eventFd = EventFd.create();
    PollSet set = PollSet.create(1);
    set.add(eventFd.fd(), true, 1);
    CountDownLatch waiting = new CountDownLatch(1);
    AtomicInteger events = new AtomicInteger();
    Thread waiter = new Thread(() -> {
      waiting.countDown();
      events.set(set.await(30_000));
    });
    waiter.start();
    assertThat(waiting.await(10, TimeUnit.SECONDS)).isTrue();
    for (int i = 0; i < 3; i++) {
      System.gc();
    }
    assertThat(waiter.isAlive()).isTrue();

    assertThat(eventFd.signal()).isZero();

    waiter.join(10_000);
    assertThat(events.get()).isEqualTo(1);
    set.close();
    eventFd.close();
  }
}
