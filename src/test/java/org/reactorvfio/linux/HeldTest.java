package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Changes only: what other tests have left to the garbage collector is counted, too. */
class HeldTest {
  @Test
  void descriptorsOfEveryKindAreCounted() throws Exception {
    long before = Held.descriptors();
    List<EventFd> eventFds = new ArrayList<>();
    eventFds.add(EventFd.create());
    eventFds.add(EventFd.duplicate(eventFds.get(0).fd()));
    PollSet poll = PollSet.create(1);
    int file = Syscalls.memfd("held", 4096);
    int other = Syscalls.duplicate(file);
    assertThat(Held.descriptors() - before).isEqualTo(5);
    ReadBatch batch = ReadBatch.create(2);
    assertThat(Held.descriptors() - before).isEqualTo(batch == null ? 5 : 6);
    if (batch != null) {
      batch.close();
    }
    eventFds.forEach(EventFd::close);
    poll.close();
    Syscalls.close(other);
    assertThat(Held.descriptors() - before).isEqualTo(1);
    Syscalls.close(file);
    assertThat(Held.descriptors() - before).isZero();
    assertThat(Syscalls.close(file)).isEqualTo(-Errno.EBADF);
    assertThat(Syscalls.open("/no/such/file", Syscalls.O_RDONLY)).isEqualTo(-Errno.ENOENT);
    assertThat(Held.descriptors() - before).isZero();
  }

  @Test
  void mappingsAreCountedUntilTheyAreReleased() throws Exception {
    int file = Syscalls.memfd("held", 8192);
    // The first one makes the file that stands in for what was released.
    Mapping.map(file, 0, 4096, true).release();
    long mappings = Held.mappings();
    long bytes = Held.mappedBytes();
    Mapping small = Mapping.map(file, 0, 4096, true);
    Mapping large = Mapping.map(file, 0, 8192, false);
    assertThat(Held.mappings() - mappings).isEqualTo(2);
    assertThat(Held.mappedBytes() - bytes).isEqualTo(12288);
    large.release();
    large.release();
    assertThat(Held.mappings() - mappings).isEqualTo(1);
    assertThat(Held.mappedBytes() - bytes).isEqualTo(4096);
    small.release();
    assertThat(Held.mappings() - mappings).isZero();
    assertThat(Held.mappedBytes() - bytes).isZero();
    Syscalls.close(file);
  }
}
