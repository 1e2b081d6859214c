package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What makes descriptors, when there are none left. */
class MissingDescriptorsTest {
  private interface Maker {
    void make() throws LinuxException;
  }

  private static void refused(String call, Maker maker) {
    // All classes are there before no file can be opened.
    LinuxException other = new LinuxException(call, Errno.EMFILE);
    List<LinuxException> failures = new ArrayList<>(List.of(other));
    TestLimits.withoutDescriptors(() -> {
      try {
        maker.make();
      } catch (LinuxException e) {
        failures.add(e);
      }
    });
    assertThat(failures).as(call).hasSize(2);
    assertThat(failures.get(1)).hasMessage(other.getMessage());
    assertThat(failures.get(1).call()).isEqualTo(call);
    assertThat(failures.get(1).errno()).isEqualTo(Errno.EMFILE);
  }

  @Test
  void eachSaysSo() throws LinuxException {
    EventFd eventFd = EventFd.create();
    PollSet.create(1).close();
    refused("eventfd", EventFd::create);
    refused("epoll_create1", () -> PollSet.create(1));
    refused("dup", () -> duplicate(eventFd));
    assertThat(eventFd.signal()).isZero();
    assertThat(eventFd.take()).isEqualTo(1);
    eventFd.close();
  }

  private static void duplicate(EventFd eventFd) throws LinuxException {
    int copy = Syscalls.duplicate(eventFd.fd());
    if (copy < 0) {
      throw new LinuxException("dup", -copy);
    }
    Syscalls.close(copy);
  }

  @Test
  void filesAreRefusedByNumber() {
    int fd = Syscalls.open("/dev/null", Syscalls.O_RDONLY);
    assertThat(Syscalls.close(fd)).isZero();
    TestLimits.withoutDescriptors(() -> {
      assertThat(Syscalls.open("/dev/null", Syscalls.O_RDONLY)).isEqualTo(-Errno.EMFILE);
      assertThat(Syscalls.memfd("test", 4096)).isEqualTo(-Errno.EMFILE);
    });
    int again = Syscalls.open("/dev/null", Syscalls.O_RDONLY);
    assertThat(again).isNotNegative();
    assertThat(Syscalls.close(again)).isZero();
  }

  @Test
  void aRingThatCannotBeHadIsNone() {
    long before = TestEventFds.open("[io_uring]");
    ReadBatch batch = ReadBatch.create(8);
    if (batch != null) {
      batch.close();
    }
    List<Object> batches = new ArrayList<>();
    TestLimits.withoutDescriptors(() -> batches.add(ReadBatch.create(8) == null));
    assertThat(batches).containsExactly(true);
    assertThat(TestEventFds.open("[io_uring]")).isEqualTo(before);
  }

  @Test
  void aFileOfASizeThatCannotBeLeavesNoDescriptor() {
    long before = Syscalls.memfd("test", 4096);
    Syscalls.close((int) before);
    assertThat(Syscalls.memfd("test", -1)).isEqualTo(-Errno.EINVAL);
    long after = Syscalls.memfd("test", 4096);
    Syscalls.close((int) after);
    assertThat(after).isEqualTo(before);
  }
}
