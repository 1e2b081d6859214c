package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Many eventfds read at once. */
class ReadBatchTest {
  private final List<EventFd> eventFds = new ArrayList<>();
  private long rings;
  private @Nullable ReadBatch batch;

  @BeforeEach
  void create() throws LinuxException {
    rings = TestEventFds.open("[io_uring]");
    batch = ReadBatch.create(8);
    assumeTrue(
        batch != null,
        "NOT CHECKED: this kernel, or whoever runs it, does not let us have io_uring");
    for (int i = 0; i < 8; i++) {
      eventFds.add(EventFd.create());
    }
  }

  @AfterEach
  void close() {
    if (batch != null) {
      batch.close();
      assertThat(TestEventFds.open("[io_uring]")).isEqualTo(rings);
    }
    eventFds.forEach(EventFd::close);
  }

  private static void signal(EventFd eventFd, int times) {
    for (int i = 0; i < times; i++) {
      assertThat(eventFd.signal()).isZero();
    }
  }

  @Test
  void eachHasItsOwnCountHoweverOftenTheRingHasGoneRound() {
    for (int round = 0; round < 1000; round++) {
      int size = 1 + round % 8;
      for (int i = 0; i < size; i++) {
        signal(eventFds.get(i), (round + i) % 4);
        batch.add(eventFds.get(i));
      }
      batch.read();
      for (int i = 0; i < size; i++) {
        assertThat(batch.count(i))
            .as("round %s, %s of %s", round, i, size)
            .isEqualTo((round + i) % 4);
      }
    }
    assertThat(eventFds).allMatch(eventFd -> eventFd.take() == 0);
  }

  @Test
  void whatFailsIsTakenByItself() throws LinuxException {
    EventFd closed = EventFd.create();
    closed.close();
    EventFd last = eventFds.get(7);
    signal(last, 3);
    batch.add(closed);
    batch.add(last);
    batch.read();
    assertThat(batch.count(0)).isEqualTo(-Errno.EBADF);
    assertThat(batch.count(1)).isEqualTo(3);
  }

  @Test
  void nothingIsReadOfNothing() {
    signal(eventFds.get(0), 1);
    batch.read();
    assertThat(eventFds.get(0).take()).isEqualTo(1);
  }

  @Test
  void whereTheKernelRefusesThereIsNoBatch() {
    assertThat(ReadBatch.create(1 << 30)).isNull();
  }
}
