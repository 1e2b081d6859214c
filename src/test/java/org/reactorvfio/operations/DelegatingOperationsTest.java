package org.reactorvfio.operations;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Whatever the table grows by, it is passed on: with the same arguments, and the same answer. */
class DelegatingOperationsTest {
  private record Call(Method method, List<Object> arguments) {}

  private record Passed(Operation operation, List<Object> arguments) {}

  private static final Flux<Void> NOTHING = Flux.never();

  private final List<Call> calls = new ArrayList<>();
  private final List<Passed> passed = new ArrayList<>();

  private final VfioOperations core = (VfioOperations) Proxy.newProxyInstance(
      VfioOperations.class.getClassLoader(),
      new Class<?>[] {VfioOperations.class},
      (proxy, method, arguments) -> {
        calls.add(new Call(method, arguments == null ? List.of() : List.of(arguments)));
        return method.getReturnType() == Mono.class ? Mono.just(method) : value(method);
      });

  /** What the core answers at once, of a kind that no default has. */
  private static Object value(Method method) {
    Class<?> type = method.getReturnType();
    if (type == Optional.class) {
      return Optional.of(method.getName());
    }
    return type == boolean.class ? Boolean.FALSE : type == Flux.class ? NOTHING : method.getName();
  }

  private final VfioOperations operations = new DelegatingOperations(core) {
    @Override
    protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
      passed.add(new Passed(operation, List.of(arguments)));
      return call;
    }
  };

  static Stream<Method> table() {
    return Arrays.stream(VfioOperations.class.getMethods())
        .filter(method -> !Modifier.isStatic(method.getModifiers()))
        // The same order in every JVM: a method keeps its number among the tests.
        .sorted(Comparator.comparing(Method::toString));
  }

  @ParameterizedTest
  @MethodSource("table")
  void passesOn(Method method) throws ReflectiveOperationException {
    Object[] arguments = Arrays.stream(method.getParameterTypes())
        .map(DelegatingOperationsTest::argument)
        .toArray();
    assertThat(answer(method, arguments))
        .isEqualTo(method.getReturnType() == Mono.class ? method : value(method));
    assertThat(calls).containsExactly(new Call(method, List.of(arguments)));
    if (method.getReturnType() == Mono.class) {
      assertThat(passed).hasSize(1);
      assertThat(passed.get(0).operation().method()).isEqualTo(method.getName());
      assertThat(passed.get(0).arguments()).containsExactly(arguments);
    }
  }

  @Test
  void changesNothingByItself() {
    Mono<Void> call = Mono.empty();
    VfioOperations lone = (VfioOperations) Proxy.newProxyInstance(
        VfioOperations.class.getClassLoader(),
        new Class<?>[] {VfioOperations.class},
        (proxy, method, arguments) -> method.getReturnType() == boolean.class ? true : call);
    DelegatingOperations plain = new DelegatingOperations(lone) {};
    assertThat(plain.core()).isSameAs(lone);
    assertThat(plain.isolated()).isTrue();
    assertThat(plain.reset()).isSameAs(call);
  }

  private Object answer(Method method, Object... arguments) throws ReflectiveOperationException {
    try {
      Object answer = method.invoke(operations, arguments);
      return answer instanceof Mono<?> mono ? mono.block() : answer;
    } catch (InvocationTargetException e) {
      throw new AssertionError(method + " failed", e.getCause());
    }
  }

  static Object argument(Class<?> type) {
    if (type == int.class) {
      return 7;
    } else if (type == long.class) {
      return 4096L;
    } else if (type == ByteBuffer.class) {
      return ByteBuffer.allocate(8);
    } else if (type == List.class) {
      return List.of(new DmaInfo.IovaRange(0, 4095));
    } else if (type == IrqSet.class) {
      return IrqSet.disable(1);
    } else if (type == FeatureRequest.class) {
      return FeatureRequest.probe(1);
    } else if (type == IoEventFd.class) {
      return new IoEventFd(0, 0, 4, 1, 3);
    } else if (type == DmaMapping.class) {
      return DmaMapping.readWrite(ByteBuffer.allocateDirect(4096), 0);
    } else if (type == AddressSpace.class) {
      return AddressSpace.create();
    } else if (type == GraphicsPlane.class) {
      return new GraphicsPlane(
          GraphicsPlane.Kind.PRIMARY,
          GraphicsPlane.Source.REGION,
          0,
          0,
          8,
          8,
          32,
          256,
          0,
          0,
          0,
          0,
          9);
    } else if (type.isEnum()) {
      return type.getEnumConstants()[0];
    }
    throw new AssertionError("make an example of " + type + " here");
  }

  @Test
  void everyOperationHasItsName() {
    assertThat(Arrays.stream(Operation.values()).map(Operation::method))
        .containsExactlyInAnyOrderElementsOf(table()
            .filter(method -> method.getReturnType() == Mono.class)
            .map(Method::getName)
            .toList());
  }
}
