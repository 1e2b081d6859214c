package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.AddressSpace;

class SharedSpaceTest {
  private final List<String> events = new ArrayList<>();
  private final AddressSpace space = AddressSpace.create();
  private final SharedSpace behind = SharedSpace.of(space);

  private class Thing implements SharedSpace.Backing {
    @Override
    public String description() {
      return "a thing";
    }

    @Override
    public void close() {
      events.add("closed");
    }
  }

  private final class Other extends Thing {}

  private final class Witness implements AddressSpace.Part {
    @Override
    public void vacated() {
      events.add("vacated");
    }
  }

  @Test
  void theFirstMakesItAndTheLastClosesIt() throws LinuxException {
    space.part(Witness.class, Witness::new);
    Thing thing = behind.join(Thing.class, "one", Thing::new);
    assertThat(behind.isShared()).isFalse();
    assertThat(behind.join(Thing.class, "two", Thing::new)).isSameAs(thing);
    assertThat(behind.isShared()).isTrue();
    behind.leave(space);
    assertThat(events).isEmpty();
    behind.leave(space);
    assertThat(events).containsExactly("closed", "vacated");
    behind.leave(space);
    assertThat(events).hasSize(2);
    assertThat(behind.join(Thing.class, "one", Thing::new)).isNotSameAs(thing);
  }

  @Test
  void oneOfAnotherKindStaysOut() throws LinuxException {
    behind.join(Thing.class, "one", Thing::new);
    assertThatThrownBy(() -> behind.join(Other.class, "two", Other::new))
        .isInstanceOf(AddressSpaceConflictException.class)
        .hasMessageContainingAll("two", "is a thing", "same way");
    behind.leave(space);
    assertThat(events).containsExactly("closed");
    assertThat(behind.join(Other.class, "two", Other::new)).isNotNull();
  }

  @Test
  void aFailureToMakeItLeavesNothing() throws LinuxException {
    assertThatThrownBy(() -> behind.join(Thing.class, "one", () -> {
          throw new LinuxException("open", Errno.EMFILE);
        }))
        .isInstanceOf(LinuxException.class);
    behind.leave(space);
    assertThat(events).isEmpty();
    assertThat(behind.join(Thing.class, "one", Thing::new)).isNotNull();
  }
}
