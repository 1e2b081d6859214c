package org.reactorvfio.operations;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotSupportedException;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** A transport that offers no more than a table must have. */
class VfioOperationsTest {
  private static final Duration LIMIT = Duration.ofSeconds(5);

  private final VfioOperations least = (VfioOperations) Proxy.newProxyInstance(
      VfioOperations.class.getClassLoader(),
      new Class<?>[] {VfioOperations.class},
      (proxy, method, arguments) -> {
        if (method.isDefault()) {
          return InvocationHandler.invokeDefault(proxy, method, arguments);
        }
        return method.getName().equals("name")
            ? "least"
            : method.getName().equals("mapDma") ? MAPPED : Mono.error(new AssertionError(method));
      });

  private static final Mono<Void> MAPPED = Mono.<Void>empty().hide();

  static Stream<Method> notOffered() {
    return DelegatingOperationsTest.table()
        .filter(Method::isDefault)
        .filter(method -> method.getReturnType() == Mono.class)
        .filter(method -> !method.getName().equals("shareDma"));
  }

  @ParameterizedTest
  @MethodSource("notOffered")
  void saysWhatItDoesNotOffer(Method method) throws ReflectiveOperationException {
    Object[] arguments = Arrays.stream(method.getParameterTypes())
        .map(DelegatingOperationsTest::argument)
        .toArray();
    Mono<?> answer = (Mono<?>) method.invoke(least, arguments);
    StepVerifier.create(answer)
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(NotSupportedException.class, refused -> {
              assertThat(refused.device()).isEqualTo("least");
              assertThat(refused.operation()).isNotBlank();
              assertThat(refused.problem()).isNotBlank();
              assertThat(refused.remedy()).isNotBlank();
            }))
        .verify(LIMIT);
  }

  @Test
  void takesWhatSuitsMost() {
    assertThat(least.isolated()).isTrue();
    assertThat(least.addressSpace()).isEqualTo(Optional.empty());
    DmaMapping mapping = (DmaMapping) DelegatingOperationsTest.argument(DmaMapping.class);
    assertThat(least.shareDma(AddressSpace.create(), 0, mapping)).isSameAs(MAPPED);
    StepVerifier.create(least.removal())
        .expectSubscription()
        .expectNoEvent(Duration.ofMillis(1))
        .thenCancel()
        .verify(LIMIT);
  }
}
