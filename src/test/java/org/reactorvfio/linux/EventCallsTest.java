package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Both ways of calling: which one the other tests take depends on the JDK that runs them. */
class EventCallsTest {
  @Test
  void aJvmThatHasForeignFunctionsUsesThem() {
    boolean foreign = EventCalls.foreign(EventCalls.class.getModule(), "read", "JIJJ") != null;
    assertThat(foreign).isEqualTo(Runtime.version().feature() >= 22);
  }

  @Test
  void whatIsMissingIsLeftToJna() {
    assertThat(EventCalls.foreign(EventCalls.class.getModule(), "no_such_function", "II"))
        .isNull();
  }

  @Test
  void aModuleWithoutNativeAccessIsLeftToJna() {
    Module other = ModuleLayer.boot().findModule("java.logging").orElseThrow();
    assertThat(EventCalls.foreign(other, "read", "JIJJ")).isNull();
  }

  @Test
  void aFailureHasItsErrorNumber() {
    NativeBuffer word = NativeBuffer.allocate(8);
    assertThat(EventCalls.read(-1, word.address(), 8)).isEqualTo(-Errno.EBADF);
    assertThat(EventCalls.write(-1, word.address(), 8)).isEqualTo(-Errno.EBADF);
    assertThat(EventCalls.epollWait(-1, word.address(), 1, 0)).isEqualTo(-Errno.EBADF);
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
}
